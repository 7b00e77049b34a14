//! The agent's journal: what it verified, holds and has still to report, across restarts and a lost hub.
//!
//! ```text
//!  events numbered ─► outbox ─► sent to the hub ─► receipt ─► removed
//!  index verified  ─► index, mark ┐
//!  bundles fetched ─► bodies      ├─ one commit: one transaction, one fsync, and only then the effects
//!  instances moved ─► rows        ┘
//! ```
//!
//! # What every journal promises (`conformance.rs` holds each of these against both of ours)
//!
//! 1. A commit is whole or absent, after a crash too; it is durable when `commit` returns.
//! 2. Within a commit later writes win; a commit with one refused write changes nothing.
//! 3. Events are numbered without gaps from 1; what is in the outbox stays until a receipt covers it, and nothing else removes it.
//! 4. Receipts are cumulative; an older one changes nothing, and one for events that were never numbered is refused.
//! 5. Bytes come back as they were given.
//! 6. A journal that is damaged is kept aside and named as lost; one that cannot be read is an error and never a new one.
//!
//! The bytes of index, instances and settings mean nothing here: who writes them encodes them.

#[cfg(test)]
mod conformance;
mod error;
mod memory;
mod redb;

use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use taffrail_core::digest::Digest;
use taffrail_proto::event::Numbered;

pub use self::redb::Redb;
pub use error::Error;
pub use memory::Memory;

/// Largest value of one row, in bytes: a packed bundle at its limit; the hub refuses to make larger ones.
pub const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most events that `outbox_from` gives at once, whatever is asked for: one request to the hub.
pub const OUTBOX_COUNT_MAX: u32 = 10_000;

/// Setting: another agent has used the numbers of this journal.
pub const FORKED: &str = "forked";

/// Highest (hub epoch, generation) of an index that this agent verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Hub epoch.
    pub epoch: u64,
    /// Generation within the epoch.
    pub generation: u64,
}

/// One change of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Replaces the last verified index.
    PutIndex {
        /// The signed bytes.
        bytes: Bytes,
    },
    /// Replaces the high-water mark.
    PutMark(Mark),
    /// Keeps a bundle object by object, so that one of them can be read without the others.
    PutBundle {
        /// Digest of its content.
        digest: Digest,
        /// Its objects in order: digest of the content, and the body as whoever reads it expects it.
        bodies: Vec<(Digest, Bytes)>,
    },
    /// Forgets a bundle, and those of its bodies that no other bundle has; no error if there is none.
    RemoveBundle {
        /// Digest of its content.
        digest: Digest,
    },
    /// Replaces the state of an instance.
    PutInstance {
        /// The app as `source/name`.
        app: String,
        /// Its encoded state.
        bytes: Bytes,
    },
    /// Replaces the state of one object of an instance.
    PutItem {
        /// The app as `source/name`.
        app: String,
        /// Name of the row within the app.
        name: String,
        /// Its encoded state.
        bytes: Bytes,
    },
    /// Forgets one object of an instance; no error if there is none.
    RemoveItem {
        /// The app as `source/name`.
        app: String,
        /// Name of the row within the app.
        name: String,
    },
    /// Forgets an instance with its objects; no error if there is none.
    RemoveInstance {
        /// The app as `source/name`.
        app: String,
    },
    /// Puts events into the outbox.
    AppendEvents {
        /// Numbered on from `next_seq`.
        rows: Vec<Numbered>,
        /// Hash of the last header: the head of the chain.
        last_hash: Digest,
    },
    /// The hub has every event up to this one: they leave the outbox.
    Receipt {
        /// The last event covered.
        seq: u64,
    },
    /// Replaces a value under a name.
    PutSetting {
        /// Name of the setting.
        key: String,
        /// Its encoded value.
        bytes: Bytes,
    },
    /// Forgets a value; no error if there is none.
    RemoveSetting {
        /// Name of the setting.
        key: String,
    },
}

/// Everything but the bytes of bundles and the bodies of the outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The last verified index as signed; `None` until there was one.
    pub index: Option<Bytes>,
    /// The high-water mark; `None` until there was an index.
    pub mark: Option<Mark>,
    /// The number under which this journal's events are counted.
    pub incarnation: u64,
    /// Bundles held, with the number of their objects.
    pub bundles: BTreeMap<Digest, usize>,
    /// States of instances by app.
    pub instances: BTreeMap<String, Bytes>,
    /// States of their objects by app and name.
    pub items: BTreeMap<String, BTreeMap<String, Bytes>>,
    /// Settings by name.
    pub settings: BTreeMap<String, Bytes>,
    /// Number of the next event; the first is 1.
    pub next_seq: u64,
    /// Head of the chain of headers; zeros before the first event.
    pub last_hash: Digest,
    /// The last event that the hub has; zero if none.
    pub receipted: u64,
    /// Length of all headers and payloads in the outbox, in bytes.
    pub outbox_bytes: u64,
}

/// What was found where the journal should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Nothing: this is the first start here, or the disk is a new one.
    New,
    /// The journal of an earlier start.
    Found,
    /// A damaged journal, now kept aside; this one is new and begins a new incarnation.
    Lost {
        /// What was wrong with it.
        reason: String,
    },
}

/// The journal. `load`, `outbox_from`, `bundle` and `body` block on the disk for as long as a read takes.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Does all writes in order, in one transaction with one fsync, off the async threads. Dropping the future does not undo them.
    ///
    /// # Errors
    /// [`Error::WrongSeq`], [`Error::WrongReceipt`] and [`Error::TooLarge`] change nothing; after any other the process must end.
    async fn commit(&self, writes: Vec<Write>) -> Result<(), Error>;

    /// Reads what the agent starts from.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Damaged`].
    fn load(&self) -> Result<Snapshot, Error>;

    /// Events of the outbox from `seq` on in order: at most `max_count` (and [`OUTBOX_COUNT_MAX`]), and no more than `max_bytes`
    /// of headers and payloads unless the first alone is longer.
    ///
    /// # Errors
    /// [`Error::Read`].
    fn outbox_from(&self, seq: u64, max_count: u32, max_bytes: u64) -> Result<Vec<Numbered>, Error>;

    /// The digests of a bundle's objects, in order; `None` if the bundle is not held.
    ///
    /// # Errors
    /// [`Error::Read`].
    fn bundle(&self, digest: &Digest) -> Result<Option<Vec<Digest>>, Error>;

    /// The body of an object of any bundle that is held.
    ///
    /// # Errors
    /// [`Error::Read`].
    fn body(&self, content: &Digest) -> Result<Option<Bytes>, Error>;
}

/// Where the outbox stands: the part of a commit that can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outbox {
    next_seq: u64,
    receipted: u64,
}

impl Outbox {
    /// The outbox after these rows.
    fn append(self, rows: &[Numbered]) -> Result<Outbox, Error> {
        let mut after = self;
        for row in rows {
            if row.seq != after.next_seq {
                return Err(Error::WrongSeq { seq: row.seq, next: after.next_seq });
            }
            check_length("an event", row.header.len() + row.payload.len())?;
            after.next_seq += 1;
        }
        Ok(after)
    }

    /// The outbox after a receipt.
    fn receipt(self, seq: u64) -> Result<Outbox, Error> {
        if seq >= self.next_seq {
            return Err(Error::WrongReceipt { seq, next: self.next_seq });
        }
        Ok(Outbox { receipted: self.receipted.max(seq), ..self })
    }
}

fn check_length(what: &'static str, bytes: usize) -> Result<(), Error> {
    if bytes > VALUE_BYTES_MAX {
        return Err(Error::TooLarge { what, bytes, max: VALUE_BYTES_MAX });
    }
    Ok(())
}

/// Bodies of one bundle are refused together if they are longer than [`VALUE_BYTES_MAX`].
fn check_bodies(bodies: &[(Digest, Bytes)]) -> Result<(), Error> {
    check_length("a bundle", bodies.iter().map(|(_, body)| body.len()).sum())
}

/// Rows of the outbox up to the limits of one call.
struct Batch {
    rows: Vec<Numbered>,
    count_left: u32,
    bytes_left: u64,
}

impl Batch {
    fn new(max_count: u32, max_bytes: u64) -> Batch {
        Batch { rows: Vec::new(), count_left: max_count.min(OUTBOX_COUNT_MAX), bytes_left: max_bytes }
    }

    /// Whether an event of this length still belongs to the batch.
    fn admits(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let fits = self.count_left > 0 && (self.rows.is_empty() || bytes <= self.bytes_left);
        if fits {
            self.count_left -= 1;
            self.bytes_left = self.bytes_left.saturating_sub(bytes);
        }
        fits
    }
}
