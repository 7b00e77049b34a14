//! The port behind the API: what the hub can say of its fleet, and what it can be told to do.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use taffrail_core::id::{self, ClusterName, SourceName};
use taffrail_proto::v1::{
    AppRow, ClusterRow, Done, EventFilter, EventRow, HistoryRow, Part, SourceRow, View,
};
use tokio::sync::watch;

use super::Error;

/// A value, and as of when it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    /// State index, its time, and the hub's clock.
    pub view: View,
    /// What was asked for.
    pub value: T,
}

/// An app as people name it: `name`, or `source/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppName {
    /// The source, if it was named.
    pub source: Option<SourceName>,
    /// The name, which only one source of a hub may declare.
    pub name: id::AppName,
}

/// Which apps; the port may answer with more, the API filters again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Apps {
    /// Only this one.
    pub app: Option<AppName>,
    /// Only with instances on this cluster.
    pub cluster: Option<ClusterName>,
    /// Only those that this source declares.
    pub source: Option<SourceName>,
}

/// Which objects an app's instances are wanted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Rows only.
    Instances,
    /// Rows and their objects.
    Objects,
}

/// Which events. Bounds are exclusive, zero means none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events {
    /// What they must match.
    pub filter: EventFilter,
    /// Only after this log index.
    pub after_index: u64,
    /// Only before this log index.
    pub before_index: u64,
    /// At most so many, 1 to 1,000.
    pub limit: usize,
    /// The newest first; the limit cuts at the old end then.
    pub newest_first: bool,
}

/// Some events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// In the order asked for.
    pub events: Vec<EventRow>,
    /// Whether there may be more beyond [`Found::reached_index`].
    pub more: bool,
    /// Everything from the bound asked for up to this index was looked at. A port that ends a long search early sets
    /// `more` and says here where to go on.
    pub reached_index: u64,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name in the token's record.
    pub name: String,
}

/// A password or token of a repository; shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(secret)")
    }
}

/// How to log in to a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// User name and password.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token alone.
    Token(Secret),
}

/// What an agent may apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Everything.
    ClusterAdmin,
    /// What is inside these namespaces; at least one.
    Namespaces(Vec<String>),
}

/// What can be ordered. Names are parsed, texts are bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Follow a repository.
    AddSource {
        /// https, http, or file where the hub allows it.
        url: String,
        /// Directory in the tree; empty for its root.
        path: String,
        /// Branch, tag or commit; empty for HEAD.
        revision: String,
        /// None: made from the URL.
        name: Option<SourceName>,
        /// None: no login.
        credential: Option<Credential>,
    },
    /// Accept a rewritten history.
    AllowSource {
        /// The source.
        name: SourceName,
    },
    /// Stop following; apps keep their objects.
    RemoveSource {
        /// The source.
        name: SourceName,
    },
    /// Give a cluster another name. (Inviting one is [`Fleet::invite`].)
    RenameCluster {
        /// Its name now.
        name: ClusterName,
        /// Its name from now on.
        new_name: ClusterName,
    },
    /// End a membership.
    RemoveCluster {
        /// The cluster.
        name: ClusterName,
        /// Take away its objects too.
        cascade: bool,
    },
    /// Deliver the newest commit now.
    Sync {
        /// The app.
        app: AppName,
        /// Where; empty for everywhere.
        clusters: Vec<ClusterName>,
    },
    /// Let a guard's refusal pass once.
    Approve {
        /// The app.
        app: AppName,
        /// The cluster.
        cluster: ClusterName,
        /// What waits; none if just one thing does.
        what: Option<String>,
        /// How the digest of the bundle begins that the person saw; none for whichever waits.
        bundle: Option<String>,
    },
}

/// A command with who gives it and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What to do.
    pub command: Command,
    /// By whom.
    pub by: Caller,
    /// Why, in their words; may be empty.
    pub reason: String,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
}

/// An invitation of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The name it will have.
    pub name: ClusterName,
    /// The labels it will have.
    pub labels: BTreeMap<String, String>,
    /// Image of the agent; none for the hub's default.
    pub image: Option<String>,
    /// A `DaemonSet` instead of a `Deployment`.
    pub daemonset: bool,
    /// What the agent may apply.
    pub rights: Rights,
    /// By whom.
    pub by: Caller,
    /// Why, in their words; may be empty.
    pub reason: String,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
}

/// What an order led to; given only when its event is durable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Log index, sentence, warnings.
    pub done: Done,
    /// The name that an added source was given.
    pub name: String,
    /// The clusters that a sync was ordered for.
    pub clusters: Vec<String>,
}

/// A recorded invitation.
#[derive(Clone, PartialEq)]
pub struct Invited {
    /// Log index, sentence, warnings.
    pub done: Done,
    /// The YAML, with the one-time token in it.
    pub manifest: String,
    /// When the token ends.
    pub expires_at_ms: u64,
}

/// The hub as the API sees it.
///
/// Every answer is of one state, and names its log index. No answer shows anything that is not durable yet. An error is
/// never an empty answer.
#[async_trait]
pub trait Fleet: Send + Sync + 'static {
    /// All clusters, in any order, as they last were; the API makes silent ones unknown.
    async fn clusters(&self) -> Result<Answer<Vec<ClusterRow>>, Error>;

    /// Apps with instances as they were last reported; totals and worst states are left to the API.
    async fn apps(&self, which: &Apps, detail: Detail) -> Result<Answer<Vec<AppRow>>, Error>;

    /// All sources, in any order.
    async fn sources(&self) -> Result<Answer<Vec<SourceRow>>, Error>;

    /// Events that match.
    async fn events(&self, which: &Events) -> Result<Answer<Found>, Error>;

    /// The log index up to which events can be read, whenever it grows; closed when the hub ends.
    fn tail(&self) -> watch::Receiver<u64>;

    /// Deliveries of an app, newest first, at most `limit`, and whether there are more.
    async fn history(
        &self,
        app: &AppName,
        cluster: Option<&ClusterName>,
        limit: usize,
    ) -> Result<Answer<(Vec<HistoryRow>, bool)>, Error>;

    /// How each part of the hub is. Does not fail where a part does: that is the answer.
    async fn check(&self) -> Answer<Vec<Part>>;

    /// Carries an order out and returns when its event is durable.
    async fn submit(&self, order: Order) -> Result<Outcome, Error>;

    /// Invites a cluster and returns when the event is durable.
    async fn invite(&self, invitation: Invitation) -> Result<Invited, Error>;
}
