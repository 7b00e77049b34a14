//! What the hub records.

use crate::catalog::{Listing, Root};
use crate::cluster::{Chain, Number};
use crate::desired::{Change, Mark};
use crate::digest::Digest;
use crate::epoch::{Evidence, Grant};
use crate::id::{AccountKey, ClusterName, CommitId, SourceName};
use crate::planner::Variant;
use crate::source::Track;
use crate::time::At;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Every fact that the hub itself states.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::module_name_repetitions, reason = "facts of hub and agents stand side by side")]
pub enum HubFact {
    /// The hub process serves; its epoch orders indexes across restores.
    Started {
        /// Version of the program.
        version: String,
        /// Hub epoch.
        epoch: u64,
    },
    /// A repository, revision and path is followed from now on.
    SourceAdded {
        /// Its name.
        source: SourceName,
        /// Repository and revision.
        track: Track,
        /// Directory in the tree, empty for the root.
        path: String,
    },
    /// A source is no longer followed.
    SourceRemoved {
        /// Its name.
        source: SourceName,
    },
    /// A revision's rewritten history was accepted by a person.
    SourceAllowed {
        /// Repository and revision.
        track: Track,
        /// The commit that is now the head.
        commit: CommitId,
    },
    /// A revision moved forward.
    CommitSeen {
        /// Repository and revision.
        track: Track,
        /// Other revisions of the repository that stood at the same commit before and do so now, such as `HEAD`.
        also: Vec<String>,
        /// Where it was before, if it was known.
        previous: Option<CommitId>,
        /// Author as Git names them.
        author: String,
        /// First line of the message, at most 200 characters.
        subject: String,
        /// The committer's time.
        committed_at: At,
    },
    /// A revision moved to a commit that does not descend from the last one; the revision is parked.
    HistoryRewritten {
        /// Repository and revision.
        track: Track,
        /// The last accepted commit.
        old: CommitId,
        /// Where the revision points now.
        new: CommitId,
    },
    /// What one root of a source declares changed.
    CatalogChanged {
        /// The source.
        source: SourceName,
        /// Which part of the source's tree.
        root: Root,
        /// What it declares now; `None` when the root is gone from Git.
        listing: Option<Listing>,
    },
    /// What one root of a source declares could not be read; what it declared before stays in force.
    CatalogUnreadable {
        /// The source.
        source: SourceName,
        /// Which part of the source's tree.
        root: Root,
        /// File in the tree, if one is to blame.
        file: Option<String>,
        /// Line in that file, counted from 1.
        line: Option<u32>,
        /// What is wrong.
        cause: String,
    },
    /// The rendered objects of one variant are stored under their digest.
    BundleSealed {
        /// What was rendered.
        variant: Variant,
        /// Content digest.
        digest: Digest,
        /// Digest of the sealed bytes: the name under which it travels.
        sealed: Digest,
        /// Size of the content in bytes.
        size: u64,
        /// Number of objects.
        objects: u32,
        /// Path prefixes that were read; a commit outside them cannot change the result.
        inputs: Vec<String>,
    },
    /// A tree could not be rendered; clusters keep what they have.
    RenderFailed {
        /// What was to be rendered.
        variant: Variant,
        /// File in the tree, if one is to blame.
        file: Option<String>,
        /// Document in that file, counted from 1.
        document: Option<u32>,
        /// Line in that file, counted from 1.
        line: Option<u32>,
        /// What is wrong.
        cause: String,
    },
    /// A cluster may join with a one-time token.
    ClusterInvited {
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// SHA-256 of the token.
        token: Digest,
        /// When the token ends.
        expires_at: At,
    },
    /// A cluster exchanged its token for credentials.
    ClusterJoined {
        /// Its identity.
        account: AccountKey,
        /// Public Ed25519 key of its events.
        event_key: [u8; 32],
        /// Public X25519 key of its indexes, as text.
        box_key: String,
        /// Public key of its NATS user, as text.
        user_key: String,
        /// SHA-256 of the token that it used.
        token: Digest,
        /// Version of the agent.
        agent_version: String,
        /// Version of Kubernetes.
        kubernetes_version: String,
    },
    /// An attempt to join was refused.
    JoinRefused {
        /// SHA-256 of what was presented.
        token: Digest,
        /// Why.
        reason: String,
    },
    /// A cluster has another name from now on.
    ClusterRenamed {
        /// The name before.
        from: ClusterName,
        /// The name now.
        to: ClusterName,
    },
    /// A cluster is to be emptied before it leaves.
    ClusterLeaving,
    /// A cluster is no longer part of the fleet; its credentials are revoked.
    ClusterRemoved {
        /// Its identity, if it had joined.
        account: Option<AccountKey>,
    },
    /// A cluster has not been heard of for the lease.
    ClusterSilent {
        /// When it was last heard of.
        heard_at: At,
    },
    /// A silent cluster is heard again.
    ClusterBack {
        /// How long it was silent, in milliseconds.
        silent_ms: u64,
    },
    /// A cluster's desired index was raised: what changed in it, and why.
    IndexRaised {
        /// The new (epoch, generation).
        mark: Mark,
        /// One line per app that changed.
        changes: Vec<Change>,
    },
    /// A person asked for the newest rendered state of an app.
    SyncRequested {
        /// Clusters that it is asked for.
        clusters: Vec<ClusterName>,
        /// Why, in the person's words.
        reason: String,
    },
    /// A person approved what a guard held back.
    Approved {
        /// The app on the cluster of the context; this bundle only.
        digest: Digest,
        /// Why, in the person's words.
        reason: String,
    },
    /// A batch of events was refused.
    EventRefused {
        /// The account on whose subject it came.
        account: AccountKey,
        /// Why.
        reason: String,
        /// Incarnation that it claimed.
        incarnation: u64,
        /// First sequence number that it claimed.
        seq: u64,
    },
    /// The offline key was made; only its public half is kept here.
    RestoreKeyMade {
        /// Public Ed25519 key.
        key: [u8; 32],
    },
    /// The log is older than something that follows from it: the hub only reads until a new epoch begins.
    LogBehind {
        /// What shows it; the cluster of the context showed it.
        evidence: Evidence,
    },
    /// A new epoch begins, by the word of the offline key.
    EpochRaised {
        /// The grant.
        grant: Grant,
    },
    /// Events that had receipts are not in the log, which was restored from an older backup. Nobody has them any more.
    EventsLost {
        /// The first one.
        first: Number,
        /// The last one.
        last: Number,
    },
    /// What a cluster holds is part of the state of the restored hub from now on.
    ClusterAdopted {
        /// The mark of its index from now on.
        mark: Mark,
        /// The mark of the index that it holds; zero if its journal was lost.
        held: Mark,
        /// How what it holds differs from what the log knew.
        changes: Vec<Change>,
        /// Where its events go on.
        chain: Chain,
    },
}

impl HubFact {
    /// Stable name of the kind, as stored and shown.
    pub fn kind(&self) -> &'static str {
        match self {
            HubFact::Started { .. } => "HubStarted",
            HubFact::SourceAdded { .. } => "SourceAdded",
            HubFact::SourceRemoved { .. } => "SourceRemoved",
            HubFact::SourceAllowed { .. } => "SourceAllowed",
            HubFact::CommitSeen { .. } => "CommitSeen",
            HubFact::HistoryRewritten { .. } => "HistoryRewritten",
            HubFact::CatalogChanged { .. } => "CatalogChanged",
            HubFact::CatalogUnreadable { .. } => "CatalogUnreadable",
            HubFact::BundleSealed { .. } => "BundleSealed",
            HubFact::RenderFailed { .. } => "RenderFailed",
            HubFact::ClusterInvited { .. } => "ClusterInvited",
            HubFact::ClusterJoined { .. } => "ClusterJoined",
            HubFact::JoinRefused { .. } => "JoinRefused",
            HubFact::ClusterRenamed { .. } => "ClusterRenamed",
            HubFact::ClusterLeaving => "ClusterLeaving",
            HubFact::ClusterRemoved { .. } => "ClusterRemoved",
            HubFact::ClusterSilent { .. } => "ClusterSilent",
            HubFact::ClusterBack { .. } => "ClusterBack",
            HubFact::IndexRaised { .. } => "IndexRaised",
            HubFact::SyncRequested { .. } => "SyncRequested",
            HubFact::Approved { .. } => "Approved",
            HubFact::EventRefused { .. } => "EventRefused",
            HubFact::RestoreKeyMade { .. } => "RestoreKeyMade",
            HubFact::LogBehind { .. } => "LogBehind",
            HubFact::EpochRaised { .. } => "EpochRaised",
            HubFact::EventsLost { .. } => "EventsLost",
            HubFact::ClusterAdopted { .. } => "ClusterAdopted",
        }
    }

    /// Whether a reader that does not know the kind would decide wrongly: it must stop instead.
    pub fn must_understand(&self) -> bool {
        matches!(
            self,
            HubFact::LogBehind { .. } | HubFact::EpochRaised { .. } | HubFact::ClusterAdopted { .. }
        )
    }
}
