//! What is known of epochs, and how facts change it.

use crate::cluster::Number;
use crate::desired::Mark;
use crate::event::{HubEvent, HubFact};
use crate::id::ClusterName;
use alloc::vec::Vec;
use core::fmt;

/// Why a new epoch may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrantKind {
    /// The hub lives on from a backup: its log is older than what its fleet holds.
    Restore,
    /// Another hub takes over with a copy of the log.
    Failover,
}

impl GrantKind {
    /// Every kind with its stable name.
    pub const ALL: [(GrantKind, &'static str); 2] =
        [(GrantKind::Restore, "restore"), (GrantKind::Failover, "failover")];

    /// Stable name.
    pub fn name(self) -> &'static str {
        GrantKind::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// Reads a stable name.
    pub fn parse(name: &str) -> Option<GrantKind> {
        GrantKind::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }
}

/// The offline key's word that an epoch may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The epoch.
    pub epoch: u64,
    /// Why.
    pub kind: GrantKind,
    /// Ed25519 of the offline key over fleet, epoch and kind.
    pub signature: Vec<u8>,
}

/// What shows that the log is older than something that follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The epoch file beside the database.
    EpochFile {
        /// What it says.
        found: u64,
        /// What the log says.
        known: u64,
    },
    /// The mark of the last index on the bus. Nobody signed it.
    Bus {
        /// What stands there.
        found: Mark,
        /// What the log says.
        known: Mark,
    },
    /// An index that this hub signed, shown by the agent that holds it.
    Index {
        /// Its mark.
        found: Mark,
        /// What the log says.
        known: Mark,
    },
    /// A receipt that this hub signed, shown by the agent that holds it.
    Receipt {
        /// The event up to which it goes.
        found: Number,
        /// The last event of that cluster in the log.
        known: Number,
    },
}

impl fmt::Display for Evidence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Evidence::EpochFile { found, known } => {
                write!(out, "the epoch file says {found}, the log {known}")
            }
            Evidence::Bus { found, known } => {
                write!(out, "index {found} is on the bus, the log knows {known}")
            }
            Evidence::Index { found, known } => write!(out, "it holds index {found}, the log knows {known}"),
            Evidence::Receipt { found, known } => {
                write!(out, "it holds a receipt up to event {found}, the log ends at {known}")
            }
        }
    }
}

/// How it was found that the log is too old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The cluster that showed it, if one did.
    pub cluster: Option<ClusterName>,
    /// What shows it.
    pub evidence: Evidence,
}

impl fmt::Display for Behind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cluster {
            Some(cluster) => write!(out, "cluster {cluster}: {}", self.evidence),
            None => write!(out, "{}", self.evidence),
        }
    }
}

/// Everything that is known of epochs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Public half of the offline key.
    pub restore_key: Option<[u8; 32]>,
    /// The grant of the epoch in force; `None` in the first one.
    pub grant: Option<Grant>,
    /// Log index of the event that began it.
    pub raised: u64,
    /// Set while the log is known to be too old: the hub only reads.
    pub behind: Option<Behind>,
}

/// Applies one fact; facts of other machines change nothing.
pub fn evolve(state: &mut State, index: u64, event: &HubEvent) {
    match &event.fact {
        HubFact::RestoreKeyMade { key } => state.restore_key = Some(*key),
        HubFact::LogBehind { evidence } => {
            state.behind = Some(Behind { cluster: event.context.cluster.clone(), evidence: *evidence });
        }
        HubFact::EpochRaised { grant } => {
            state.grant = Some(grant.clone());
            state.raised = index;
            state.behind = None;
        }
        _ => {}
    }
}
