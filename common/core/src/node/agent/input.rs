//! What enters and leaves a step of the agent.

use crate::desired::{Index, Mark, Permit};
use crate::digest::Digest;
use crate::event::AgentEvent;
use crate::event::agent::{Journal, Refusal, Status};
use crate::id::{AppId, CommitId};
use crate::object::Key;
use crate::sync::{
    Applied, Deleted, Effect, Fingerprint, Inspected, Item, Object, Problem, Recalled, Unstored,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// One instance as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The inventory.
    pub items: BTreeMap<Key, Item>,
    /// The bundle that is applied completely.
    pub applied: Option<(Mark, Digest)>,
    /// The last stated state.
    pub stated: Option<Status>,
}

/// The index in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The index; `None` when only the mark is known, from the cluster, because the journal was lost.
    pub index: Option<Index>,
    /// Its place in the order.
    pub mark: Mark,
    /// Digest of its signed bytes, if the index is held.
    pub digest: Option<Digest>,
}

/// Everything that can happen to an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The process acts.
    Started {
        /// Version of the program.
        version: String,
        /// Version of Kubernetes.
        kubernetes: String,
        /// State of the journal.
        journal: Journal,
    },
    /// An index came; its signature and its cluster are right.
    Index {
        /// What it says.
        index: Index,
        /// Digest of its signed bytes.
        digest: Digest,
        /// What lets it in if its epoch is higher.
        permit: Permit,
    },
    /// An index came that is not for us or not from the hub.
    BadIndex {
        /// What it claims.
        mark: Mark,
        /// Why it is not taken.
        reason: Refusal,
    },
    /// A bundle's objects, or why they cannot be had for now.
    Loaded {
        /// The app.
        app: AppId,
        /// The run that asked.
        run: u64,
        /// The objects.
        objects: Result<Vec<Object>, String>,
        /// What the inventory in the cluster says, where that was asked for.
        recalled: Recalled,
    },
    /// The inventory stands in the cluster, or not.
    Stored {
        /// The app.
        app: AppId,
        /// The run that asked.
        run: u64,
        /// Why not.
        outcome: Result<(), Unstored>,
    },
    /// The destination namespace is there, or not.
    NamespaceEnsured {
        /// The app.
        app: AppId,
        /// The run that asked.
        run: u64,
        /// Why not.
        problem: Option<Problem>,
    },
    /// An apply ended.
    Applied {
        /// The app.
        app: AppId,
        /// The run that asked.
        run: u64,
        /// What was applied.
        object: Object,
        /// The commit it carries.
        commit: CommitId,
        /// How it ended.
        outcome: Result<Applied, Problem>,
    },
    /// A deletion ended.
    Deleted {
        /// The app.
        app: AppId,
        /// The run that asked.
        run: u64,
        /// The object.
        key: Key,
        /// How it ended.
        outcome: Result<Deleted, Problem>,
    },
    /// A look at an object ended.
    Inspected {
        /// The app.
        app: AppId,
        /// The object.
        key: Key,
        /// Whether lost fields were asked for.
        against: bool,
        /// What was found.
        outcome: Inspected,
    },
    /// A watch shows an object.
    Seen {
        /// The object.
        key: Key,
        /// What it is like.
        fingerprint: Fingerprint,
    },
    /// A watch shows an object no more.
    Gone {
        /// The object.
        key: Key,
    },
    /// A watch has shown every object of a kind, or says that it cannot.
    Listed {
        /// Group, version and kind.
        kind: (String, String, String),
        /// Whether the API server serves it.
        served: bool,
    },
    /// The API server's version of a kind is lower than one that it had: the cluster was restored from a backup. Everything
    /// of the kind is shown anew from here on.
    WentBack {
        /// Group, version and kind.
        kind: (String, String, String),
        /// The highest version that was seen.
        was: u64,
        /// The version now.
        is: u64,
    },
    /// The time that `next_wake` named has come.
    Wake,
}

/// An order to the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "almost every act is of the large kind")]
pub enum Act {
    /// Watch these kinds (group, version, kind) from now on, and no others.
    Watch(BTreeSet<(String, String, String)>),
    /// An order of one instance.
    Instance {
        /// The app.
        app: AppId,
        /// The order.
        effect: Effect,
    },
}

/// What a step asks its shell to do. Facts and state are journalled, in one transaction, before anything else is done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// Facts to be numbered and kept until the hub's receipt.
    pub facts: Vec<AgentEvent>,
    /// Instances whose durable part changed.
    pub dirty: BTreeSet<AppId>,
    /// Objects of these instances' inventories whose durable part changed or ended.
    pub items: BTreeMap<AppId, BTreeSet<Key>>,
    /// Instances that are gone.
    pub gone: Vec<AppId>,
    /// The index of this step was taken: it is the one in force, and none waits any more.
    pub took_index: bool,
    /// The index of this step is kept and waits for the hub to adopt this cluster; the one in force stays.
    pub kept_index: bool,
    /// Two indexes of one mark were seen in this epoch: nothing of it is taken any more.
    pub stopped: Option<u64>,
    /// The hub is to be shown what it signed: it is behind, or waits for it to adopt this cluster.
    pub prove: bool,
    /// What to do.
    pub acts: Vec<Act>,
}

impl Outputs {
    /// Adds what a later step leads to, so that both are journalled in one transaction.
    pub fn absorb(&mut self, later: Outputs) {
        self.facts.extend(later.facts);
        self.dirty.extend(later.dirty);
        for (app, keys) in later.items {
            self.items.entry(app).or_default().extend(keys);
        }
        // An app may come back later in the same transaction: what is gone is written first.
        for app in later.gone {
            self.dirty.remove(&app);
            self.items.remove(&app);
            self.gone.push(app);
        }
        self.took_index |= later.took_index;
        self.kept_index |= later.kept_index;
        self.stopped = later.stopped.or(self.stopped);
        self.prove |= later.prove;
        self.acts.extend(later.acts);
    }
}
