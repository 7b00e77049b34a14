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

/// What an agent does with an index whose signature and cluster are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it.
    Take,
    /// It is the one already held.
    Same,
    /// Do not take it, and say so.
    Refuse(Refusal),
}

/// Judges an index against the one held (table in design, section 9).
///
/// `held` is the mark and the digest of the signed bytes of the index in force.
pub fn judge(held: Option<(Mark, Digest)>, mark: Mark, digest: Digest) -> Verdict {
    let Some((held_mark, held_digest)) = held else { return Verdict::Take };
    if mark == held_mark {
        return if digest == held_digest { Verdict::Same } else { Verdict::Refuse(Refusal::Equivocation) };
    }
    if mark < held_mark {
        return Verdict::Refuse(Refusal::Lower);
    }
    if mark.epoch > held_mark.epoch { Verdict::Refuse(Refusal::NoGrant) } else { Verdict::Take }
}
