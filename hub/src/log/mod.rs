//! The log of record: an append-only sequence of events, found again by their keys, and the blobs that events name.
//!
//! ```text
//!  append ─► queue ─► writer thread ─► one WriteBatch, one fsync ─► tickets resolve, `durable` moves
//!                       (all that is queued)                     └► read, query, at_time see it
//! ```
//!
//! # What every log promises (`conformance.rs` holds each of these against both of ours)
//!
//! 1. The first event has index 1, and indexes have no gaps.
//! 2. `append` takes a batch only if `first` is the next index; a refused batch leaves no trace and the next one may use its index.
//! 3. A batch is whole or absent, after a crash too, and batches stand in the order in which they were taken.
//! 4. A ticket resolves with success only when its batch, and all in front of it, survive a power cut.
//! 5. What can be read is durable; what is durable can be read.
//! 6. Header and payload come back as the bytes that were given, whatever their kind.
//! 7. `appended_at` never goes back along the log; a batch that would make it do so is refused.
//! 8. `query` gives exactly the events that match every given part of the filter, in log order or its reverse.
//! 9. A failed write ends the log: every later ticket fails, nothing is tried again. The process must end.
//! 10. A blob whose ticket resolved is durable; blobs put before an append are durable when the append is.
//! 11. `room` says that the disk is nearly full before it is. An append is not refused for that: whoever decides looks before.
//! 12. "Could not read" is an error, never an empty answer.

#[cfg(test)]
mod conformance;
mod cursor;
mod epoch;
mod error;
pub(crate) mod failpoint;
mod holder;
mod keys;
mod memory;
mod queue;
mod rocks;
mod room;
mod scan;
mod settings;
mod ticket;
mod witness;
mod writer;

use bytes::Bytes;
use taffrail_core::digest::Digest;
use taffrail_core::time::At;
use tokio::sync::watch;

pub use epoch::{read_epoch, write_epoch};
pub use error::Error;
pub use memory::Memory;
pub use rocks::{OnFatal, Rocks};
pub use room::{RESERVE_MIN, Room};
pub use ticket::{AppendTicket, BlobTicket, Ticket};

/// Most events that one `read` or `query` returns: a page that a person or a client still handles, 4 MB of typical events.
pub const EVENTS_MAX: u32 = 10_000;

/// Bytes of events after which a page ends early, so that a page of large payloads does not fill the memory: 16 MiB.
pub const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Largest event, header and payload together, in bytes: four times NATS' default `max_payload`, through which events come.
pub const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Largest blob in bytes: the limit of a bundle's content, which its packed form cannot usefully exceed.
pub const BLOB_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most distinct commits that a commit prefix may match: beyond, the prefix is no name any more.
pub const PREFIX_MATCHES_MAX: usize = 64;

/// Under which keys an event is found again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Name of the cluster that the event is about.
    pub cluster: Option<String>,
    /// The app as `source/name`.
    pub app: Option<String>,
    /// The commit id, whole.
    pub commit: Option<String>,
    /// Who did it.
    pub actor: Option<String>,
    /// Kind of the event, known or not.
    pub kind: String,
}

/// An event to append; its index follows from its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The hub's own time of the append; never before that of the event in front.
    pub appended_at: At,
    /// The envelope as it was signed and sent.
    pub header: Bytes,
    /// The payload as it was sent.
    pub payload: Bytes,
    /// Where it is to be found again.
    pub keys: Keys,
    /// Whether it is the hub's own; an agent's otherwise.
    pub own: bool,
}

/// Fsyncs of a log since its start: one for each group of batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syncs {
    /// For groups that hold something of the hub's own: an event or a blob.
    pub own: u64,
    /// For groups of nothing but events of agents.
    pub reported: u64,
}

impl Syncs {
    /// All of them.
    pub fn all(self) -> u64 {
        self.own + self.reported
    }
}

/// An event as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Position in the log; the first is 1.
    pub index: u64,
    /// The hub's own time of the append.
    pub appended_at: At,
    /// The envelope, byte for byte.
    pub header: Bytes,
    /// The payload, byte for byte.
    pub payload: Bytes,
}

/// Which events to find: those that match every part that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Name of the cluster.
    pub cluster: Option<String>,
    /// The app as `source/name`; without a slash, the apps of this name in every source.
    pub app: Option<String>,
    /// The commit id or the beginning of one; at most [`PREFIX_MATCHES_MAX`] commits may begin so.
    pub commit: Option<String>,
    /// Who did it.
    pub actor: Option<String>,
    /// Kind of the event.
    pub kind: Option<String>,
    /// Appended at this time or later.
    pub from: Option<At>,
    /// Appended at this time or earlier.
    pub to: Option<At>,
    /// Only events with a larger log index.
    pub after: Option<u64>,
    /// Only events with a smaller log index.
    pub before: Option<u64>,
    /// Whether the newest comes first.
    pub newest_first: bool,
    /// Most events wanted; above [`EVENTS_MAX`] it counts as that, and 0 asks for none.
    pub limit: u32,
}

/// A blob that the log keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Under which digest it was put.
    pub digest: Digest,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The log of record. Reads block on the disk: call them off the async threads.
pub trait Log: Send + Sync {
    /// Queues a batch whose first event is to have index `first`. The ticket gives the index of the last event in the log after
    /// the batch once that is durable; for an empty batch, once all in front of it is.
    ///
    /// Refused, through the ticket: [`Error::WrongIndex`], [`Error::TimeWentBack`], [`Error::TooLarge`], [`Error::QueueFull`];
    /// failed, and the process must end: [`Error::Write`], [`Error::Stopped`].
    fn append(&self, first: u64, batch: Vec<Record>) -> AppendTicket;

    /// The index that the next append must name: one more than everything queued.
    fn next_index(&self) -> u64;

    /// The time of the last event queued; zero in an empty log. New events must not be earlier.
    fn last_at(&self) -> At;

    /// The last durable index, and every change of it; zero in an empty log.
    fn durable(&self) -> watch::Receiver<u64>;

    /// Fsyncs since the start.
    fn syncs(&self) -> Syncs;

    /// Whether there is room for more, and every change of it. While it is short no blob is taken, and nothing new is to be decided:
    /// what is appended all the same uses up the reserve.
    fn room(&self) -> watch::Receiver<Room>;

    /// Events from index `from` in order, at most `limit` and [`EVENTS_MAX`] of them, fewer if they exceed [`PAGE_BYTES_MAX`].
    /// An empty answer means that there are none; a short one does not.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Damaged`].
    fn read(&self, from: u64, limit: u32) -> Result<Vec<Stored>, Error>;

    /// Events that match; go on with `after` or `before` set to the last index received until the answer is empty.
    ///
    /// # Errors
    /// As `read`; and [`Error::Ambiguous`] if the beginning of a commit matches too many.
    fn query(&self, filter: &Filter) -> Result<Vec<Stored>, Error>;

    /// Index of the last event appended at this time or earlier; zero if there is none.
    ///
    /// # Errors
    /// As `read`.
    fn at_time(&self, at: At) -> Result<u64, Error>;

    /// Keeps bytes under a digest that names them; a second time replaces them.
    fn put_blob(&self, digest: Digest, bytes: Bytes) -> BlobTicket;

    /// Forgets a blob; it is no error if there is none.
    fn remove_blob(&self, digest: Digest) -> BlobTicket;

    /// The bytes of a blob.
    ///
    /// # Errors
    /// [`Error::Read`].
    fn get_blob(&self, digest: &Digest) -> Result<Option<Bytes>, Error>;

    /// Whether there is such a blob.
    ///
    /// # Errors
    /// [`Error::Read`].
    fn has_blob(&self, digest: &Digest) -> Result<bool, Error>;

    /// All blobs, by digest.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Damaged`].
    fn list_blobs(&self) -> Result<Vec<Blob>, Error>;
}
