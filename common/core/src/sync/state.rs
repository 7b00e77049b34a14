//! What is known of one instance: durable inventory, volatile work.

use super::drifting::Drifts;
use super::ports::{Effect, Fingerprint, Object, Problem};
use super::remove::Turn;
use super::roster::Roster;
use crate::desired::{Entry, Mark};
use crate::digest::Digest;
use crate::event::AgentFact;
use crate::event::agent::Status;
use crate::health::{Health, Judgement};
use crate::id::CommitId;
use crate::object::Key;
use crate::reconcile::fight::Fights;
use crate::reconcile::prune::Rules;
use crate::time::{At, Span};
use crate::timers::Timers;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Bounds that the operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests of one instance in flight. Default 8: more were no faster on a real API server.
    pub in_flight: usize,
    /// How long a new state may take to become healthy before that is named. Default 300 s.
    pub health_timeout: Span,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { in_flight: 8, health_timeout: Span::secs(300) }
    }
}

/// One object of the inventory. Durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// API version without the group.
    pub version: String,
    /// Digest of what was last applied; zero before the first time, and while another content is on its way.
    pub content: Digest,
    /// The commit that last changed it.
    pub commit: CommitId,
    /// UID, empty before the first time.
    pub uid: String,
    /// Fingerprint of the fields that we own.
    pub owned: u64,
    /// It carries `Prune=false`.
    pub keep: bool,
    /// Version of the object when it was written last: one that is lower is from before that, out of a backup.
    pub written: u64,
}

impl Item {
    /// Whether it was applied at least once: before that nothing of it is ours.
    pub fn is_applied(&self) -> bool {
        self.content != Digest::default()
    }
}

/// What an instance is doing. Volatile: a restart begins with `Loading`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The bundle is being fetched.
    Loading,
    /// A guard holds it.
    Parked,
    /// The inventory is being written.
    Storing,
    /// Objects are being applied.
    Applying,
    /// Everything is applied; health is waited for before anything is deleted.
    Settling,
    /// What left the bundle is being deleted.
    Pruning,
    /// Nothing to do.
    Resting,
    /// Everything is being deleted.
    Withdrawing,
    /// Gone.
    Gone,
}

/// What a step left in an instance for its node.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Facts with their time.
    pub facts: Vec<(AgentFact, At)>,
    /// Orders to the shell.
    pub effects: Vec<Effect>,
    /// The durable part changed.
    pub dirty: bool,
    /// Objects of the inventory whose durable part changed or ended; filled when `dirty`.
    pub touched: BTreeSet<Key>,
    /// Objects that entered or left the inventory, or are watched in another version.
    pub members: Vec<Member>,
    /// The cluster shows an object that is older than what was written.
    pub older: Option<Older>,
}

/// An object that is older than what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Older {
    /// Version that was written.
    pub was: u64,
    /// Version that is shown.
    pub is: u64,
    /// When it was seen.
    pub at: At,
}

/// An object that entered or left an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its key.
    pub key: Key,
    /// API version in which it was a member.
    pub was: Option<String>,
    /// API version in which it is one now.
    pub is: Option<String>,
}

/// Kinds (group, version, kind).
pub type Kinds = BTreeSet<(String, String, String)>;

/// One app on this cluster.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says of one thing whether it waits or changed")]
pub struct Instance {
    /// What the index says. Durable.
    pub entry: Entry,
    /// The inventory. Durable.
    pub items: BTreeMap<Key, Item>,
    /// The bundle that is applied completely, if one is. Durable.
    pub applied: Option<(Mark, Digest)>,
    /// The last state that was stated as an event. Durable.
    pub stated: Option<Status>,

    pub(super) limits: Limits,
    /// A restored hub has not adopted this cluster yet: nothing is deleted.
    pub(super) holds: bool,
    pub(super) run: u64,
    pub(super) step: Step,
    pub(super) objects: BTreeMap<Key, Object>,
    pub(super) stages: Vec<Vec<Key>>,
    /// Kinds of which a watch has shown everything.
    pub(super) listed: Arc<Kinds>,
    /// Objects that are judged once their kind is listed.
    pub(super) unlisted: BTreeMap<(String, String, String), Vec<Key>>,
    pub(super) list_by: Option<At>,
    pub(super) list_over: bool,
    pub(super) in_flight: BTreeSet<Key>,
    pub(super) waiting: bool,
    pub(super) draining: bool,
    pub(super) problems: BTreeMap<Key, Problem>,
    pub(super) trouble: Option<String>,
    pub(super) attempt: u32,
    pub(super) retry_at: Option<At>,
    pub(super) settle_by: Option<At>,
    pub(super) overdue: bool,
    /// In withdrawing: what is to be deleted.
    pub(super) going: BTreeSet<Key>,
    /// What is to be deleted and waits for nothing but its turn.
    pub(super) due: BTreeSet<Turn>,
    pub(super) deleted: Vec<Key>,
    pub(super) storing: Option<u64>,
    /// In withdrawing: nothing is left to delete, and the inventory's removal was asked for.
    pub(super) forgetting: bool,
    pub(super) store_again: bool,
    pub(super) unstored: bool,
    /// The inventory in the cluster is to be read with the next bundle.
    pub(super) recall: bool,
    /// Objects that left the inventory in this process, oldest first: a restored cluster may have them again, and an
    /// inventory that was written since does not name them.
    pub(super) left: VecDeque<Key>,
    pub(super) older: Option<Older>,
    pub(super) unsaved: u32,
    pub(super) live: BTreeMap<Key, Fingerprint>,
    pub(super) roster: Roster,
    pub(super) inspect_at: Timers<Key>,
    pub(super) inspecting: BTreeSet<Key>,
    /// Looks that are under way while a watch showed the object no more: they may have found it before.
    pub(super) overtaken: BTreeSet<Key>,
    pub(super) unlooked: BTreeSet<Key>,
    /// What is known of these comes from answers alone: no watch has shown them since.
    pub(super) unshown: BTreeSet<Key>,
    /// Objects of the bundle that are applied once what has their name now is gone.
    pub(super) ending: BTreeSet<Key>,
    pub(super) drifts: Drifts,
    pub(super) fights: Fights,
    pub(super) stated_at: Vec<At>,
    pub(super) state_after: Option<At>,
    pub(super) flaps: u32,
    pub(super) folded: Option<Health>,
    pub(super) dirty: bool,
    pub(super) touched: BTreeSet<Key>,
    pub(super) members: Vec<Member>,
    pub(super) facts: Vec<(AgentFact, At)>,
    pub(super) effects: Vec<Effect>,
}

impl Instance {
    /// An instance as the journal has it, or a new one.
    pub fn new(
        entry: Entry,
        items: BTreeMap<Key, Item>,
        applied: Option<(Mark, Digest)>,
        stated: Option<Status>,
        limits: Limits,
    ) -> Instance {
        let unstored = applied.is_none() || items.values().any(|item| !item.is_applied());
        let mut roster = Roster::new(Rules::of(&entry));
        for key in items.keys() {
            roster.enter(key);
        }
        let drifts = Drifts::new(entry.policy.self_heal);
        Instance {
            entry,
            items,
            applied,
            stated,
            limits,
            holds: false,
            run: 0,
            step: Step::Loading,
            objects: BTreeMap::new(),
            stages: Vec::new(),
            listed: Arc::default(),
            unlisted: BTreeMap::new(),
            list_by: None,
            list_over: false,
            in_flight: BTreeSet::new(),
            waiting: false,
            draining: false,
            problems: BTreeMap::new(),
            trouble: None,
            attempt: 0,
            retry_at: None,
            settle_by: None,
            overdue: false,
            going: BTreeSet::new(),
            due: BTreeSet::new(),
            deleted: Vec::new(),
            storing: None,
            forgetting: false,
            store_again: false,
            unstored,
            recall: true,
            left: VecDeque::new(),
            older: None,
            unsaved: 0,
            live: BTreeMap::new(),
            roster,
            inspect_at: Timers::default(),
            inspecting: BTreeSet::new(),
            overtaken: BTreeSet::new(),
            unlooked: BTreeSet::new(),
            unshown: BTreeSet::new(),
            ending: BTreeSet::new(),
            drifts,
            fights: Fights::default(),
            stated_at: Vec::new(),
            state_after: None,
            flaps: 0,
            folded: None,
            dirty: true,
            touched: BTreeSet::new(),
            members: Vec::new(),
            facts: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// What it is doing.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Health of an object, if it was judged.
    pub fn health_of(&self, key: &Key) -> Option<&Judgement> {
        self.roster.health(key)
    }

    /// Objects whose durable part is newer than what a journal was told.
    pub fn unsaved(&self) -> &BTreeSet<Key> {
        &self.touched
    }

    /// These objects' durable part is not what a journal was told.
    pub fn touch(&mut self, keys: BTreeSet<Key>) {
        self.touched.extend(keys);
    }

    /// Takes what was stated, what is asked for, and what changed.
    pub fn take(&mut self) -> Taken {
        let dirty = core::mem::take(&mut self.dirty);
        Taken {
            facts: core::mem::take(&mut self.facts),
            effects: core::mem::take(&mut self.effects),
            dirty,
            touched: if dirty { core::mem::take(&mut self.touched) } else { BTreeSet::new() },
            members: core::mem::take(&mut self.members),
            older: self.older.take(),
        }
    }

    /// The number of the last run: responses of other runs are not for the entry in force.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Numbers runs from `last` on, so that no response to an instance that was here before is taken for one to this.
    pub fn runs_after(&mut self, last: u64) {
        self.run = self.run.max(last);
    }

    /// When it must be woken. Never for something that waits for a response.
    pub fn next_wake(&self) -> Option<At> {
        let free = self.inspecting.len() < self.limits.in_flight;
        let mut looks = self.inspect_at.iter().filter(|(_, key)| free && !self.is_busy(key));
        let look = looks.next().map(|(at, _)| at);
        let pursues = self.tends() && self.busy() < self.limits.in_flight;
        let drift = if pursues { self.drifts.next() } else { None };
        let waits = [self.retry_at, self.settle_by, self.list_by, self.state_after, drift, look];
        waits.into_iter().flatten().min()
    }

    /// Whether everything is applied, so that drift is to be healed.
    pub(super) fn tends(&self) -> bool {
        matches!(self.step, Step::Settling | Step::Pruning | Step::Resting)
    }

    /// Requests about single objects that are in flight.
    pub(super) fn busy(&self) -> usize {
        self.in_flight.len() + self.inspecting.len()
    }

    pub(super) fn is_busy(&self, key: &Key) -> bool {
        self.in_flight.contains(key) || self.inspecting.contains(key)
    }

    /// The oracle: what is kept as sums and queues is what a scan of everything finds.
    ///
    /// # Errors
    /// A sentence that names what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let inventory = self.items.iter().map(|(key, item)| (key, item.keep)).collect();
        self.roster.check(Rules::of(&self.entry), &inventory)?;
        self.drifts.check()?;
        self.check_due()
    }
}
