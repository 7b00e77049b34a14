//! Desired state in, events out: the port to the message bus.
//!
//! ```text
//! indexes ──► verify ──► bundle (by sealed id) ──► plan
//! journal ──► send ──► receipt ──► journal
//! ```

pub mod conformance;
mod indexes;
mod memory;
mod nats;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use taffrail_core::digest::Digest;
use taffrail_runtime::nats::Link;
use tokio::sync::watch;

pub use memory::Memory;
pub use nats::{Nats, Settings};

/// Largest sealed bundle, in bytes; the hub sends none that is larger.
pub const BUNDLE_MAX: usize = 64 * 1024 * 1024;
/// Largest message that can be sent, in bytes: the server's 1 MiB less 16 KiB for headers.
pub const SEND_MAX: usize = 1024 * 1024 - 16 * 1024;

/// The bus as the agent sees it. Promises, checked by [`conformance::keeps_every_promise`]:
///
/// - `index` is the last one that the hub published for this cluster, `None` only if the bus says there is none.
/// - `indexes` yields the last index at its start and after every reconnect, and each one that comes while it is
///   connected; one that is missed live follows within a minute. The same bytes are not yielded twice in a row.
///   An index that the hub could not store may be yielded: order is decided by what the index says, not by arrival.
/// - `bundle` yields exactly the bytes whose SHA-256 digest is `id`.
/// - `send` yields what the hub answered to these very bytes. Without an answer nothing is known: send again.
/// - What could not be read is an error, never "nothing there".
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// The last index.
    async fn index(&self) -> Result<Option<Bytes>, Error>;

    /// The last index and every later one, for ever.
    fn indexes(&self) -> BoxStream<'static, Bytes>;

    /// A sealed bundle, put together from its parts.
    async fn bundle(&self, id: &Digest) -> Result<Bytes, Error>;

    /// Sends events and waits up to 5 s for the receipt. `traceparent` is a W3C Trace Context.
    async fn send(&self, body: Bytes, traceparent: Option<&str>) -> Result<Bytes, Error>;

    /// Puts renewed credentials in place and reconnects with them.
    async fn renew(&self, jwt: &str, seed: &str) -> Result<(), Error>;

    /// Stops connecting for good: the cluster is of no fleet any more.
    fn end(&self);

    /// How the connection stands.
    fn link(&self) -> watch::Receiver<Link>;
}

/// Any error of the client library.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What goes wrong on the bus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection, and none can be made as asked.
    #[error("connect to the hub's message bus")]
    Connect(#[source] Cause),
    /// Something could not be read.
    #[error("read {what} from the bus")]
    Read {
        /// What it is.
        what: &'static str,
        #[source]
        source: Cause,
    },
    /// A part of a bundle is not there.
    #[error("bundle {id} is not on the bus: part {part} is missing")]
    Missing {
        /// Sealed id.
        id: Digest,
        /// The first part that is missing.
        part: u32,
    },
    /// What was read is not the bundle.
    #[error("bundle {id} on the bus is damaged: {how}")]
    Damaged {
        /// Sealed id.
        id: Digest,
        /// What does not fit.
        how: &'static str,
    },
    /// A message cannot be sent: it is too large.
    #[error("events have {bytes} bytes, at most {max} can be sent")]
    TooLarge {
        /// Their length.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Nobody answered.
    #[error("send events to the hub")]
    Send(#[source] Cause),
    /// The answer is a status and not a receipt.
    #[error("send events to the hub: answered with status {status}")]
    Status {
        /// The status code.
        status: u16,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Error::TooLarge { .. })
    }
}
