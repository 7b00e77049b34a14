//! What agents record.

use crate::desired::Mark;
use crate::digest::Digest;
use crate::health::{Cause, Health};
use crate::object::Key;
use crate::time::At;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Every fact that an agent states.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::module_name_repetitions, reason = "facts of hub and agents stand side by side")]
pub enum AgentFact {
    /// The agent serves with this incarnation of its journal.
    Started {
        /// Version of the program.
        version: String,
        /// Version of Kubernetes.
        kubernetes: String,
        /// State of the journal.
        journal: Journal,
    },
    /// One instance changed its state.
    InstanceChanged(Status),
    /// A live object no longer is what was applied.
    DriftBegun {
        /// The object.
        object: Key,
        /// Field paths that were taken from us; empty if the whole object is gone, not yet read, or of an older version than
        /// the one that was written.
        fields: Vec<String>,
        /// Who took them, as `managedFields` names it; empty if unknown.
        manager: String,
        /// Whether the whole object is gone.
        gone: bool,
    },
    /// A drifted object is as applied again.
    DriftHealed {
        /// The object.
        object: Key,
        /// Field paths that were restored.
        fields: Vec<String>,
        /// Who had taken them.
        manager: String,
        /// From the first sight of the drift to its end, in milliseconds.
        lasted_ms: u64,
        /// How often this object was healed within the last ten minutes.
        attempts: u32,
    },
    /// Applying took fields from another manager.
    FieldsTaken {
        /// The object.
        object: Key,
        /// From whom.
        manager: String,
        /// Which fields.
        fields: Vec<String>,
    },
    /// Objects that left the bundle were deleted.
    Pruned {
        /// The objects.
        objects: Vec<Key>,
    },
    /// An app is gone from this cluster, as asked.
    Withdrawn {
        /// Mark of the entry that asked for it; `None` in events of agents that did not say.
        since: Option<Mark>,
        /// Objects that were deleted.
        deleted: u32,
        /// Objects that were left.
        kept: u32,
    },
    /// An index was not taken.
    IndexRefused {
        /// What it claimed.
        mark: Mark,
        /// Why.
        reason: Refusal,
    },
    /// The cluster is as it was at an earlier time, as after a restore from a backup: its API server has counted back.
    /// What was seen of it is forgotten, and everything is verified again.
    ClusterWentBack {
        /// The highest version that it had.
        was: u64,
        /// The version that it has now.
        is: u64,
    },
    /// The outbox was full: facts of one kind were not kept one by one. The newest of them follows.
    FactsFolded {
        /// Their kind.
        kind: String,
        /// How many are not kept.
        count: u32,
        /// Time of the first.
        since: At,
        /// Time of the newest, which is kept.
        until: At,
    },
}

/// State of the journal at an agent's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// The journal of the last run was there.
    Found,
    /// There was none before.
    New,
    /// There was one, and it is lost; numbers start again in a new incarnation.
    Lost(LostEvents),
}

/// What was lost with a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostEvents {
    /// Nobody can say: the process did not end as it should.
    Unknown,
    /// Nothing: the hub has every event, or they were parked and sent since.
    None,
    /// These events were neither sent nor parked.
    Range {
        /// Incarnation that numbered them.
        incarnation: u64,
        /// The first.
        from: u64,
        /// The last.
        through: u64,
    },
}

/// Why an index was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The signature is not the hub's.
    BadSignature,
    /// It is for another cluster.
    OtherCluster,
    /// It is older than the one held.
    Lower,
    /// Same mark, other content.
    Equivocation,
    /// A higher epoch without a grant.
    NoGrant,
    /// A grant `failover`, and no checkpoint to compare with the last one seen.
    NoCheckpoint,
}

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// On its way to the bundle that the index asks for.
    Syncing,
    /// Everything is applied and what left the bundle is gone.
    Synced,
    /// Something differs and is not healed, because the policy says so.
    OutOfSync,
    /// Something could not be applied; tried again with back-off.
    Failed,
    /// A guard holds it until a person approves.
    Parked,
    /// On its way out.
    Withdrawing,
}

/// One object that keeps an instance from being well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The object.
    pub object: Key,
    /// Named cause, if it is one that is known early.
    pub cause: Option<Cause>,
    /// What the cluster says, at most 400 characters.
    pub message: String,
}

/// State of one instance, as its agent sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Mark at which the index entry last changed.
    pub since: Mark,
    /// The bundle that the entry asks for.
    pub digest: Digest,
    /// Where it stands.
    pub phase: Phase,
    /// Worst health of its objects.
    pub health: Health,
    /// One sentence, at most 400 characters.
    pub message: String,
    /// Objects in trouble, at most 20.
    pub troubles: Vec<Trouble>,
    /// Number of objects in the inventory.
    pub objects: u32,
    /// Objects that wait for an approval to be deleted, at most 20.
    pub held: Vec<Key>,
    /// Changes of health that were folded into this one.
    pub flaps: u32,
}

impl AgentFact {
    /// Stable name of the kind, as stored and shown.
    pub fn kind(&self) -> &'static str {
        match self {
            AgentFact::Started { journal: Journal::Lost(_), .. } => "JournalLost",
            AgentFact::Started { .. } => "AgentStarted",
            AgentFact::InstanceChanged(_) => "InstanceChanged",
            AgentFact::DriftBegun { .. } => "DriftBegun",
            AgentFact::DriftHealed { .. } => "DriftHealed",
            AgentFact::FieldsTaken { .. } => "FieldsTaken",
            AgentFact::Pruned { .. } => "Pruned",
            AgentFact::Withdrawn { .. } => "Withdrawn",
            AgentFact::IndexRefused { reason: Refusal::Equivocation, .. } => "Equivocation",
            AgentFact::IndexRefused { .. } => "IndexRefused",
            AgentFact::ClusterWentBack { .. } => "ClusterWentBack",
            AgentFact::FactsFolded { .. } => "FactsFolded",
        }
    }
}

impl Phase {
    /// Every phase with its stable name.
    pub const ALL: [(Phase, &'static str); 6] = [
        (Phase::Syncing, "Syncing"),
        (Phase::Synced, "Synced"),
        (Phase::OutOfSync, "OutOfSync"),
        (Phase::Failed, "Failed"),
        (Phase::Parked, "Parked"),
        (Phase::Withdrawing, "Withdrawing"),
    ];

    /// Stable name.
    pub fn name(self) -> &'static str {
        Phase::ALL.iter().find(|(phase, _)| *phase == self).map_or("", |(_, name)| name)
    }

    /// Reads a stable name.
    pub fn parse(name: &str) -> Option<Phase> {
        Phase::ALL.iter().find(|(_, known)| *known == name).map(|(phase, _)| *phase)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl Refusal {
    /// Every refusal with its stable name.
    pub const ALL: [(Refusal, &'static str); 6] = [
        (Refusal::BadSignature, "BadSignature"),
        (Refusal::OtherCluster, "OtherCluster"),
        (Refusal::Lower, "Lower"),
        (Refusal::Equivocation, "Equivocation"),
        (Refusal::NoGrant, "NoGrant"),
        (Refusal::NoCheckpoint, "NoCheckpoint"),
    ];

    /// Stable name.
    pub fn name(self) -> &'static str {
        Refusal::ALL.iter().find(|(refusal, _)| *refusal == self).map_or("", |(_, name)| name)
    }
}
