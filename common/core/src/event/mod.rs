//! Facts: what happened, to what, by whom, and because of which other fact.

pub mod actor;
pub mod agent;
pub mod hub;

use crate::id::{AppId, ClusterName, CommitId};
use crate::time::At;
use alloc::string::String;

pub use actor::Actor;
pub use agent::AgentFact;
pub use hub::HubFact;

/// What every fact carries, whoever states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The cluster that the fact is about.
    pub cluster: Option<ClusterName>,
    /// The app that the fact is about.
    pub app: Option<AppId>,
    /// The commit that the fact is about.
    pub commit: Option<CommitId>,
    /// Who or what caused it.
    pub actor: Actor,
    /// Log index of the event that this one follows from.
    pub cause: Option<u64>,
    /// The producer's time; shown, and decides nothing.
    pub at: At,
    /// W3C trace context of the commit's trace.
    pub trace: Option<String>,
}

impl Context {
    /// A context of `actor` at `at` that names nothing else yet.
    pub fn new(actor: Actor, at: At) -> Context {
        Context { cluster: None, app: None, commit: None, actor, cause: None, at, trace: None }
    }

    /// The same, about `cluster`.
    #[must_use]
    pub fn cluster(mut self, cluster: &ClusterName) -> Context {
        self.cluster = Some(cluster.clone());
        self
    }

    /// The same, about `app`.
    #[must_use]
    pub fn app(mut self, app: &AppId) -> Context {
        self.app = Some(app.clone());
        self
    }

    /// The same, about `commit`.
    #[must_use]
    pub fn commit(mut self, commit: &CommitId) -> Context {
        self.commit = Some(commit.clone());
        self
    }

    /// The same, caused by the event at `cause`.
    #[must_use]
    pub fn cause(mut self, cause: Option<u64>) -> Context {
        self.cause = cause;
        self
    }

    /// The same, inside a trace.
    #[must_use]
    pub fn trace(mut self, trace: Option<String>) -> Context {
        self.trace = trace;
        self
    }
}

/// A fact of the hub with its context.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::module_name_repetitions, reason = "facts of hub and agents stand side by side")]
pub struct HubEvent {
    /// To what, by whom, why.
    pub context: Context,
    /// What happened.
    pub fact: HubFact,
}

/// A fact of an agent with its context.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::module_name_repetitions, reason = "facts of hub and agents stand side by side")]
pub struct AgentEvent {
    /// To what, by whom, why.
    pub context: Context,
    /// What happened.
    pub fact: AgentFact,
}
