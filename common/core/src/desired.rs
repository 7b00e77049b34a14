//! Desired state of one cluster: the index, its entries, and what an agent does with one.

use crate::catalog::MaxDeletes;
use crate::digest::Digest;
use crate::event::agent::Refusal;
use crate::id::{AppId, CommitId};
use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt;

/// Orders indexes: the hub epoch first, then the cluster's generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Raised only by a restore or a takeover of the hub.
    pub epoch: u64,
    /// Raised with every new index of the cluster.
    pub generation: u64,
}

impl Mark {
    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Mark> {
        let (epoch, generation) = text.split_once('.')?;
        Some(Mark { epoch: epoch.parse().ok()?, generation: generation.parse().ok()? })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.epoch, self.generation)
    }
}

/// How an app is treated on a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "these are the switches that people write in Git")]
pub struct Policy {
    /// Namespace for objects that name none; empty for `default`.
    pub namespace: String,
    /// Make that namespace if it is missing.
    pub create_namespace: bool,
    /// Delete objects that left the bundle.
    pub prune: bool,
    /// Restore fields and objects that others changed.
    pub self_heal: bool,
    /// A bundle without objects may empty the app.
    pub allow_empty: bool,
    /// More deletions than this wait for an approval.
    pub max_deletes: MaxDeletes,
}

/// Default share of an inventory that one change may delete: a fifth is more than a rename and less than a lost folder.
pub const MAX_DELETES: MaxDeletes = MaxDeletes::Percent(20);

/// Fewer deletions than this never wait for an approval by share.
pub const MAX_DELETES_FLOOR: usize = 3;

/// What becomes of an app's objects when the app leaves a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// Objects are deleted.
    Cascade,
    /// Objects stay as they are.
    Orphan,
}

/// What an index says of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Mark at which this entry last changed.
    pub since: Mark,
    /// Content digest of the bundle.
    pub digest: Digest,
    /// The name under which the bundle travels.
    pub sealed: Digest,
    /// The commit it was rendered from.
    pub commit: CommitId,
    /// How it is treated.
    pub policy: Policy,
    /// What was approved: a bundle whose deletions may go on.
    pub approved: Option<Digest>,
    /// Set when the app is to leave.
    pub withdrawn: Option<Withdrawal>,
    /// Trace of the commit.
    pub trace: Option<String>,
}

/// The index of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// Its place in the order.
    pub mark: Mark,
    /// What should run, by app; an app that is absent keeps its objects.
    pub entries: BTreeMap<AppId, Entry>,
}

/// One line of a plan: how an entry changes, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The app.
    pub app: AppId,
    /// The entry from now on; `None` when a confirmed withdrawal leaves the index.
    pub entry: Option<Entry>,
    /// Why, in one phrase.
    pub reason: String,
}

impl Index {
    /// The index after `changes` at `mark`.
    pub fn apply(&mut self, mark: Mark, changes: &[Change]) {
        self.mark = mark;
        for change in changes {
            match &change.entry {
                Some(entry) => self.entries.insert(change.app.clone(), entry.clone()),
                None => self.entries.remove(&change.app),
            };
        }
    }
}

/// What lets an index of a higher epoch in. Made at the edge, where signatures are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Permit {
    /// Nothing: no grant, one for another epoch, or one that the offline key did not sign.
    #[default]
    None,
    /// A grant `failover`: another hub took over with a copy of the log.
    Failover,
    /// A grant `restore`: the hub lives on from a backup and has not adopted this cluster yet.
    Restore,
    /// A grant `restore`, and the hub has logged what this agent holds.
    Adopted,
}

/// What an agent does with an index whose signature and cluster are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it.
    Take,
    /// It is the one already known.
    Same,
    /// Keep it, change nothing, and wait until the hub has adopted this cluster.
    Hold,
    /// Do not take it, and say so.
    Refuse(Refusal),
}

/// Where an agent stands when an index comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Mark of the index in force; zero before the first.
    pub force: Mark,
    /// The highest mark known: of the index in force, or of one that is kept and waits for the adoption.
    pub latest: Mark,
    /// Digest of the signed bytes of that index; `None` if only its mark is known, because the journal was lost.
    pub digest: Option<Digest>,
}

/// Judges an index (table in design, section 9).
pub fn judge(standing: &Standing, mark: Mark, digest: Digest, permit: Permit) -> Verdict {
    let Standing { force, latest, digest: known } = *standing;
    if mark < latest {
        return Verdict::Refuse(Refusal::Lower);
    }
    match known {
        Some(known) if mark == latest && known == digest => return Verdict::Same,
        Some(_) if mark == latest => return Verdict::Refuse(Refusal::Equivocation),
        _ => {}
    }
    // Whoever holds nothing takes what comes, but of a restored hub only after it was heard: the hub waits for every cluster.
    let nothing = force == Mark::default() && permit != Permit::Restore;
    if nothing || mark.epoch == force.epoch {
        return Verdict::Take;
    }
    match permit {
        Permit::None => Verdict::Refuse(Refusal::NoGrant),
        // Whether the other hub's log holds what this agent saw could only be told by a checkpoint of its hash tree.
        Permit::Failover => Verdict::Refuse(Refusal::NoCheckpoint),
        Permit::Restore => Verdict::Hold,
        Permit::Adopted => Verdict::Take,
    }
}
