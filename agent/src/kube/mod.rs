//! The cluster: what the agent asks of its Kubernetes API server, and the one place where that client is used.
//!
//! ```text
//! driver ──► Objects ──► discovery ──► request (applier for what it writes and for Secrets, reader for the rest)
//!        ◄── Change  ◄── watch: one metadata-only stream per kind, fingerprints in memory, differences out
//! start  ──► inventory, secret, lease: the agent's own objects, written with its own rights
//! ```
//! Absent on purpose: a cache of objects. Only fingerprints are kept, because memory is counted in single megabytes.

mod address;
mod api;
pub mod client;
pub mod discovery;
mod error;
pub mod home;
pub mod inventory;
pub mod labels;
pub mod lease;
mod pods;
pub mod secret;
pub mod watch;

pub use api::Api;
pub use client::{Access, Clients};
pub use discovery::{Served, Serving};
pub use error::{ApiError, Kind};
pub use labels::{Decoration, decorate};
pub use pods::PODS_MAX;
pub use watch::{Change, Fingerprint, Watcher, Watches};

use async_trait::async_trait;
use serde_json::Value;
use std::fmt;
use taffrail_core::object::key::{group_of, version_of};
use taffrail_core::object::{Key, Owned};

/// Group, version and kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gvk {
    /// API group, empty for the core group.
    pub group: String,
    /// Version, such as `v1`.
    pub version: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
}

impl Gvk {
    /// The kind of an object; `None` if `apiVersion` or `kind` is missing.
    pub fn of(object: &Value) -> Option<Gvk> {
        let text = |field: &str| object.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        Some(Gvk::new(text("apiVersion")?, text("kind")?))
    }

    /// From an `apiVersion` and a kind.
    pub fn new(api_version: &str, kind: &str) -> Gvk {
        Gvk {
            group: group_of(api_version).to_owned(),
            version: version_of(api_version).to_owned(),
            kind: kind.to_owned(),
        }
    }

    /// The `apiVersion`: `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

impl fmt::Display for Gvk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.api_version(), self.kind)
    }
}

impl fmt::Debug for Gvk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// One server-side apply.
#[derive(Clone, Debug)]
pub struct ApplyRequest {
    /// The object, decorated, its namespace filled in where its kind has one.
    pub object: Value,
    /// What the apply does.
    pub mode: Mode,
    /// Whether it costs a second request to learn whom a forced apply displaces.
    pub conflicts: Conflicts,
    /// The resource version that was last seen, if any: then [`Applied::changed`] is exact.
    pub last: Option<String>,
}

/// Whether an apply is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is stored.
    Store,
    /// It goes through validation and admission and is then thrown away.
    DryRun,
}

/// What is done about fields that another manager owns. They are taken in both cases: Git owns what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflicts {
    /// They are taken without a word: one request.
    Force,
    /// The managers are asked for first: two requests if there is a conflict, one if not.
    Name,
}

/// What an apply left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The object.
    pub key: Key,
    /// Its identity: differs when it was deleted and made again. Empty for the dry run of a creation.
    pub uid: String,
    /// Its version; opaque.
    pub resource_version: String,
    /// Its generation; zero for kinds that have none.
    pub generation: i64,
    /// The fields that are ours now.
    pub owned: Owned,
    /// Whom the apply displaced; empty unless [`Conflicts::Name`] was asked for.
    pub displaced: Vec<Displaced>,
    /// Whether it was created by this apply.
    pub created: bool,
    /// It is on its way out: a deletion was asked for before this apply.
    pub deleting: bool,
    /// Whether the object is another one than before; true whenever [`ApplyRequest::last`] did not say what was before.
    pub changed: bool,
}

/// A manager whose fields a forced apply took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// The field manager.
    pub manager: String,
    /// The fields, in the API server's writing, sorted.
    pub paths: Vec<String>,
}

/// What happens to the objects that a deleted object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted afterwards, by the garbage collector.
    Background,
    /// They are deleted first; the object waits for them.
    Foreground,
    /// They stay.
    Orphan,
}

/// How far a deletion got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The object is gone.
    Gone,
    /// It was gone before.
    Absent,
    /// It is marked and waits for these finalizers, or for its grace period if there are none.
    Pending {
        /// Who still has to let go.
        finalizers: Vec<String>,
    },
}

/// The objects of one cluster.
///
/// Promises, each tested on a real API server and on the one of the test kit:
///
/// 1. "Not there" and "could not be read" are never mixed: only the server's own word that an object does not exist
///    makes `None` or [`Deleted::Absent`]; a kind that is not served is an error, not an absence.
/// 2. Applying the same object twice changes nothing: same resource version, `changed` is false if the last one was given.
/// 3. A dry run stores nothing.
/// 4. A forced apply takes exactly the fields that the object names, and `displaced` names their former owners.
/// 5. A deletion with another `uid` than the live one's deletes nothing and is [`Kind::Conflict`].
/// 6. No error holds a value of a Secret.
/// 7. A kind that becomes served is found without a restart.
/// 8. Every call ends within the time limit of its client, and waits for a free place first.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Applies one object as field manager `taffrail`, by force.
    async fn apply(&self, request: &ApplyRequest) -> Result<Applied, ApiError>;

    /// Deletes an object if it still is the one with this `uid`; without a `uid`, whatever has the name.
    async fn delete(
        &self,
        key: &Key,
        uid: Option<&str>,
        propagation: Propagation,
    ) -> Result<Deleted, ApiError>;

    /// Reads an object; `None` if the server says that there is none. The version is the one it was applied or watched
    /// in, otherwise the server's preferred one.
    async fn get(&self, key: &Key) -> Result<Option<Value>, ApiError>;

    /// Pods of the newest revision of a workload that are not ready, at most [`PODS_MAX`]; none for other kinds.
    async fn pods_of(&self, workload: &Key) -> Result<Vec<Value>, ApiError>;

    /// Whether a kind is served, and how it is addressed.
    async fn kind_served(&self, gvk: &Gvk) -> Result<Serving, ApiError>;
}
