//! What enters and leaves a step of the hub.

use super::command::{Command, Rejected};
use super::debt::{Debt, Effect};
use crate::catalog::Reading;
use crate::cluster::{Batch, Chain, JoinRequest, Link, TokenRefused};
use crate::desired::Mark;
use crate::digest::Digest;
use crate::event::{Actor, AgentEvent, HubEvent};
use crate::id::{AccountKey, ClusterName, CommitId};
use crate::planner::Variant;
use crate::source::Sighting;
use crate::time::{At, Span};
use alloc::string::String;
use alloc::vec::Vec;

/// Bounds that the operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Silence after which a cluster is called silent. Default 30 s: three missed heartbeats of 10 s.
    pub lease: Span,
}

/// How a rendering ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that the variant reads changed, or it rendered to the same bytes.
    Unchanged,
    /// Rendered, sealed and stored.
    Sealed {
        /// Content digest.
        digest: Digest,
        /// The name under which it travels.
        sealed: Digest,
        /// Size of the content in bytes.
        size: u64,
        /// Number of objects.
        objects: u32,
        /// Path prefixes that were read.
        inputs: Vec<String>,
    },
    /// The tree is wrong.
    Failed {
        /// File in the tree, if one is to blame.
        file: Option<String>,
        /// Document in that file, counted from 1.
        document: Option<u32>,
        /// Line in that file, counted from 1.
        line: Option<u32>,
        /// What is wrong.
        cause: String,
    },
}

/// A rendering that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// What was rendered.
    pub variant: Variant,
    /// At which commit.
    pub commit: CommitId,
    /// How it ended.
    pub outcome: Outcome,
}

/// Everything that can happen to a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The process serves; the log was replayed.
    Started {
        /// Version of the program.
        version: String,
        /// What the epoch file beside the database says.
        epoch: u64,
    },
    /// The offline key's public half, as the shell made or found it.
    RestoreKey([u8; 32]),
    /// Marks of the last indexes on the bus.
    Witnessed(Vec<(AccountKey, Mark)>),
    /// A look at a repository found a revision.
    Sighted(Sighting),
    /// The declarations of a source were read.
    Read(Reading),
    /// A rendering ended.
    Rendered(Rendered),
    /// An index is on its way and will be the last value of its subject.
    Published {
        /// The cluster.
        cluster: ClusterName,
        /// The index.
        mark: Mark,
    },
    /// NATS knows, or no longer knows, an account.
    AccountSet(AccountKey),
    /// What NATS held was lost: everything is to be published again.
    Refill,
    /// An effect failed for now.
    Failed(Debt),
    /// A person's order.
    Ordered {
        /// Where the reply goes.
        token: u64,
        /// Who.
        actor: Actor,
        /// What.
        command: Command,
    },
    /// An agent asks to join.
    Joining {
        /// Where the reply goes.
        token: u64,
        /// What it presents.
        request: JoinRequest,
    },
    /// Events of an agent; signature and digests were checked.
    Batched {
        /// Where the reply goes.
        token: u64,
        /// The account on whose subject it came.
        account: AccountKey,
        /// The events.
        batch: Batch,
        /// What each says, if it could be read.
        facts: Vec<Option<AgentEvent>>,
    },
    /// A request whose signature or form was wrong.
    Forged {
        /// Where the reply goes.
        token: u64,
        /// The account on whose subject it came.
        account: AccountKey,
        /// Why.
        reason: String,
        /// Incarnation that it claimed.
        incarnation: u64,
        /// First number that it claimed.
        seq: u64,
    },
    /// The time that `next_wake` named has come.
    Wake,
}

/// An agent's event on its way into the log, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The cluster's name at this time.
    pub cluster: ClusterName,
    /// Its bytes.
    pub link: Link,
    /// What it says, if it could be read.
    pub event: Option<AgentEvent>,
}

/// One event to append. Its log index is its place in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Append {
    /// A fact of the hub.
    Own(HubEvent),
    /// A fact of an agent.
    Foreign(Foreign),
}

/// Answers to those who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The order was carried out; log index of its first event, or of the state that already is so.
    Done {
        /// Log index.
        index: u64,
        /// Whether anything changed.
        changed: bool,
    },
    /// The order was refused.
    Rejected(Rejected),
    /// The agent may join, or has joined before.
    Joined {
        /// Its name.
        cluster: ClusterName,
        /// Its identity.
        account: AccountKey,
    },
    /// The token was refused.
    JoinRefused(TokenRefused),
    /// Events up to here are in the log.
    Receipt {
        /// Where the chain stands.
        chain: Chain,
        /// The index that the cluster should hold.
        mark: Mark,
    },
    /// Something is missing before the batch.
    Gap {
        /// Where the chain stands.
        chain: Chain,
    },
    /// The request was refused.
    Refused {
        /// Why.
        reason: String,
    },
    /// The request was refused: the agent's journal is a copy, or older than it was, and another has used its numbers.
    Forked {
        /// What shows it.
        reason: String,
    },
}

/// What a step asks its shell to do, in this order. Replies and effects are held back until the appends are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Log index of the first append, or the next one if there is none.
    pub first: u64,
    /// Events, one atomic batch.
    pub appends: Vec<Append>,
    /// Answers by token.
    pub replies: Vec<(u64, Reply)>,
    /// Debts to pay.
    pub effects: Vec<Effect>,
    /// Time that the appends get.
    pub appended_at: At,
}
