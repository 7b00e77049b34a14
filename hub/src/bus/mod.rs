//! Desired state out, events in: the port to the message bus.
//!
//! ```text
//! ensured ──Refill──► put_bundle, publish_index for all (the hub can make everything again)
//! requests ──► step ──► fsync ──► Request::reply(receipt)
//! ```

pub mod conformance;
mod memory;
mod nats;
mod parts;
mod refill;

use std::collections::BTreeSet;
use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use taffrail_core::desired::Mark;
use taffrail_core::digest::Digest;
use taffrail_core::id::AccountKey;
use taffrail_runtime::nats::Link;
use tokio::sync::watch;

pub use memory::Memory;
pub use nats::Nats;
pub use refill::ensured;

/// Largest index, in bytes: the server's 1 MiB less 16 KiB for headers and sealing of the transport.
pub const INDEX_MAX: usize = 1024 * 1024 - 16 * 1024;
/// Largest sealed bundle, in bytes; agents refuse larger ones.
pub const BUNDLE_MAX: usize = 64 * 1024 * 1024;
/// Requests that wait for the hub; more are dropped, and their agents send again after 5 s.
pub const REQUESTS_MAX: usize = 512;

/// The bus as the hub sees it. Promises, each checked by [`conformance::keeps_every_promise`]:
///
/// - `ensure` may be called at any time. It says [`Ensured::Refill`] when something that was stored may be gone
///   since this bus last looked; the first look at a bus without streams says so too.
/// - What `publish_index` returned is stored: `last_index` finds it, until a later one or `remove_index`.
/// - With an expectation, `publish_index` stores nothing unless the cluster's last index has that number
///   (0: there is none), and says [`Error::Conflict`].
/// - A number is never given twice while the streams live, and grows.
/// - `has_bundle` is true only if every part is stored. Storing and removing twice is storing and removing once.
/// - A request names the cluster whose credentials sent it. Its reply reaches the sender alone.
/// - What could not be read is an error, never "nothing there".
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Makes the streams where they are missing or differ, and says whether anything may be lost.
    async fn ensure(&self) -> Result<Ensured, Error>;

    /// Stores a cluster's sealed index and tells its agent. Returns its number in the stream. The mark stands beside it in
    /// the clear, for a hub whose log may be older.
    async fn publish_index(
        &self,
        account: &AccountKey,
        body: Bytes,
        expected: Option<u64>,
        mark: Mark,
    ) -> Result<u64, Error>;

    /// The last index of a cluster.
    async fn last_index(&self, account: &AccountKey) -> Result<Option<Index>, Error>;

    /// Removes a cluster's index; none is no error.
    async fn remove_index(&self, account: &AccountKey) -> Result<(), Error>;

    /// Stores a sealed bundle in parts; the last part goes out when the others are stored.
    async fn put_bundle(&self, id: &Digest, body: Bytes) -> Result<(), Error>;

    /// Whether all parts of a bundle are stored.
    async fn has_bundle(&self, id: &Digest) -> Result<bool, Error>;

    /// Every bundle of which at least one part is stored.
    async fn list_bundles(&self) -> Result<BTreeSet<Digest>, Error>;

    /// Removes all parts of a bundle; none is no error.
    async fn remove_bundle(&self, id: &Digest) -> Result<(), Error>;

    /// The requests of all agents, from now on, shared with other hubs of the same queue group.
    async fn requests(&self) -> Result<BoxStream<'static, Request>, Error>;

    /// How the connection stands. After every change of `connects`, `ensure` has something new to say.
    fn link(&self) -> watch::Receiver<Link>;
}

/// What `ensure` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// All that was stored is there.
    Kept,
    /// Something may be gone: publish every index and every bundle again.
    Refill,
}

/// A stored index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its number in the stream: what `publish_index` expects.
    pub sequence: u64,
    /// Its bytes, as they were published.
    pub body: Bytes,
    /// Its mark, if it was published with one. Nobody signed it.
    pub mark: Option<Mark>,
}

/// Last indexes asked for at once when a hub starts.
const MARKS_AT_ONCE: usize = 32;

/// Marks of the last indexes of clusters. One that cannot be read is named and left out: what its agent holds tells as much.
pub async fn marks(bus: &dyn Bus, accounts: Vec<AccountKey>) -> Vec<(AccountKey, Mark)> {
    let asked = futures::stream::iter(accounts).map(|account| async move {
        let found = bus.last_index(&account).await.unwrap_or_else(|error| {
            tracing::warn!(%account, error = taffrail_runtime::telemetry::chain(&error), "last index not read");
            None
        });
        Some((account, found?.mark?))
    });
    asked.buffer_unordered(MARKS_AT_ONCE).filter_map(std::future::ready).collect().await
}

/// Events of one cluster, which wait for their receipt.
pub struct Request {
    /// The cluster, as the server checked it.
    pub account: AccountKey,
    /// The bytes sent; not checked.
    pub body: Bytes,
    /// The trace that it belongs to (W3C `traceparent`), if it names one.
    pub traceparent: Option<String>,
    responder: Responder,
}

/// How a reply goes back.
type Responder = Box<dyn FnOnce(Bytes) -> BoxFuture<'static, Result<(), Error>> + Send>;

impl Request {
    /// Sends the receipt. Nothing is promised of its arrival: an agent without a receipt asks again.
    ///
    /// # Errors
    /// [`Error::Reply`] if the connection has ended for good.
    pub async fn reply(self, receipt: Bytes) -> Result<(), Error> {
        (self.responder)(receipt).await
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Request({}, {} bytes)", self.account, self.body.len())
    }
}

/// Any error of the client library.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What goes wrong on the bus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A stream could not be looked at or made.
    #[error("ensure stream {stream}")]
    Ensure {
        /// The stream.
        stream: &'static str,
        #[source]
        source: Cause,
    },
    /// A message was not stored, or nothing is known of it.
    #[error("publish {subject}")]
    Publish {
        /// Where.
        subject: String,
        #[source]
        source: Cause,
    },
    /// The cluster's last index is not the one expected.
    #[error("another index of {account} has been published since")]
    Conflict {
        /// The cluster.
        account: AccountKey,
    },
    /// A message cannot be sent: it is too large.
    #[error("{what} has {bytes} bytes, at most {max} can be sent")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Something stored could not be read.
    #[error("read {what} from the bus")]
    Read {
        /// What it is.
        what: &'static str,
        #[source]
        source: Cause,
    },
    /// Something stored is not what we store.
    #[error("{what} on the bus is damaged")]
    Damaged {
        /// What it is.
        what: &'static str,
    },
    /// Something stored could not be removed.
    #[error("remove {what} from the bus")]
    Remove {
        /// What it is.
        what: &'static str,
        #[source]
        source: Cause,
    },
    /// Requests cannot be listened for.
    #[error("listen for events")]
    Listen(#[source] Cause),
    /// A reply could not be sent.
    #[error("reply to events")]
    Reply(#[source] Cause),
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Error::TooLarge { .. } | Error::Conflict { .. })
    }
}
