//! What can go wrong with the log.

use std::path::PathBuf;
use std::sync::Arc;
use taffrail_core::time::At;

/// A refusal or failure of the log. Cloned to every ticket of a group.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be opened.
    #[error("open the log in {}", path.display())]
    Open {
        /// Folder of the log.
        path: PathBuf,
        /// What `RocksDB` says.
        #[source]
        source: rocksdb::Error,
    },
    /// Another process has the log open.
    #[error("open the log in {}: it is in use by {holder}", path.display())]
    InUse {
        /// Folder of the log.
        path: PathBuf,
        /// Who has it, as far as known.
        holder: String,
    },
    /// Events that were durable are not there.
    #[error(
        "the log in {} ends at event {last}, but event {witnessed} was durable, as {} says: events {} to {witnessed} are missing. Nothing was changed. Put the missing or damaged files back; if this log is from a backup: taffrail-hub restore --key FILE begins a new epoch over it (docs/FAULTS.md)",
        path.display(), witness.display(), last + 1
    )]
    Lost {
        /// Folder of the log.
        path: PathBuf,
        /// The file that says so.
        witness: PathBuf,
        /// Last event that is there.
        last: u64,
        /// Last event that is known to have been durable.
        witnessed: u64,
    },
    /// Another history than the one that was witnessed.
    #[error(
        "event {index} of the log in {} is not the one that {} saw: this is another log. Put the right one back; if this one is from a backup: taffrail-hub restore --key FILE begins a new epoch over it (docs/FAULTS.md)",
        path.display(), witness.display()
    )]
    OtherHistory {
        /// Folder of the log.
        path: PathBuf,
        /// The file that says so.
        witness: PathBuf,
        /// Log index of the witnessed event.
        index: u64,
    },
    /// The witness holds something else than it should.
    #[error("the log's witness in {} cannot be read: put it back, or remove it if the log is known to be whole; if the log is from a backup: taffrail-hub restore --key FILE (docs/FAULTS.md)", path.display())]
    BadWitness {
        /// The witness file.
        path: PathBuf,
    },
    /// There is no log to restore.
    #[error("there is no log in {}: put the one of a backup there first", path.display())]
    NoLog {
        /// Folder of the log.
        path: PathBuf,
    },
    /// The disk is nearly full.
    #[error("{} MiB are free on the disk and {} MiB are kept in reserve: the log takes nothing until there is more", free >> 20, reserve >> 20)]
    Full {
        /// Free bytes.
        free: u64,
        /// Bytes kept in reserve.
        reserve: u64,
    },
    /// The `RocksDB` library is not the one this program was built for.
    #[error(
        "the RocksDB library that was loaded is version {loaded}, this program was built for {built}: set LD_LIBRARY_PATH to the right one"
    )]
    OtherLibrary {
        /// Version of the library in this process.
        loaded: String,
        /// Version that the bindings were made from.
        built: &'static str,
    },
    /// A setting on which durability rests is not in force.
    #[error("the log is open with {name} = {found:?}, it needs {wanted}")]
    Unsafe {
        /// `RocksDB`'s name of the setting.
        name: &'static str,
        /// What is in force; empty if `RocksDB` does not say.
        found: String,
        /// What must be.
        wanted: &'static str,
    },
    /// A newer program wrote this log.
    #[error("the log in {} has layout {found}, this program knows layout {known}: use the version that wrote it", path.display())]
    OtherLayout {
        /// Folder of the log.
        path: PathBuf,
        /// Its layout version.
        found: u32,
        /// The one of this program.
        known: u32,
    },
    /// A file beside the database.
    #[error("{action} {}", path.display())]
    File {
        /// A verb.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The epoch file holds something else than a number.
    #[error("the hub epoch in {} is not a number: {text:?}", path.display())]
    BadEpoch {
        /// The epoch file.
        path: PathBuf,
        /// Its beginning.
        text: String,
    },
    /// A write or its fsync failed. Fatal: what the disk holds now is unknown.
    #[error("write the log")]
    Write {
        /// What `RocksDB` says.
        #[source]
        source: rocksdb::Error,
    },
    /// The log ended after a failed write, or while the request waited. Fatal.
    #[error("the log has stopped")]
    Stopped,
    /// Reading failed.
    #[error("read the log")]
    Read {
        /// What `RocksDB` says.
        #[source]
        source: rocksdb::Error,
    },
    /// A row is missing or is not what this program writes.
    #[error("the log is damaged at index {index}: {what}")]
    Damaged {
        /// Log index, zero if the row belongs to none.
        index: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The batch was made for another state of the log.
    #[error("the next log index is {next}, not {first}")]
    WrongIndex {
        /// What the caller expected.
        first: u64,
        /// What it is.
        next: u64,
    },
    /// Time would go back along the log.
    #[error("an event is dated {} ms, the one in front of it {} ms", at.0, last.0)]
    TimeWentBack {
        /// Time of the refused event.
        at: At,
        /// Time of the event in front of it.
        last: At,
    },
    /// An event, a batch or a blob above its limit.
    #[error("{what} of {bytes} bytes is larger than the limit of {max}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// Its limit.
        max: usize,
    },
    /// The queue in front of the disk is full; try again when the disk has caught up.
    #[error("{bytes} bytes wait for the disk, the log takes no more")]
    QueueFull {
        /// What waits already.
        bytes: usize,
    },
    /// The beginning of a commit that too many commits share.
    #[error("more than {max} commits begin with {prefix:?}")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// How many are looked at.
        max: usize,
    },
}

impl Error {
    /// Whether the process must end: the log's state on disk is unknown or it takes nothing more.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Error::Write { .. } | Error::Stopped)
    }
}
