//! What can go wrong with the journal.

use std::path::PathBuf;

/// A refusal or failure of the journal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal's file or folder cannot be used.
    #[error("{action} {}", path.display())]
    File {
        /// A verb.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The journal cannot be opened, and is not known to be damaged.
    #[error("open the journal {}", path.display())]
    Open {
        /// The journal's file.
        path: PathBuf,
        /// What redb says.
        #[source]
        source: Box<redb::Error>,
    },
    /// Another agent has the journal open.
    #[error("the journal {} is in use by another process", path.display())]
    InUse {
        /// The journal's file.
        path: PathBuf,
    },
    /// Reading failed.
    #[error("read the journal")]
    Read {
        /// What redb says.
        #[source]
        source: Box<redb::Error>,
    },
    /// Writing or its fsync failed. Fatal: what the disk holds now is unknown.
    #[error("write the journal")]
    Write {
        /// What redb says.
        #[source]
        source: Box<redb::Error>,
    },
    /// The thread that wrote ended without an answer. Fatal.
    #[error("the journal's writer has ended")]
    Stopped,
    /// A row is not what this program writes.
    #[error("the journal is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// An event is not the next one.
    #[error("the next event has number {next}, not {seq}")]
    WrongSeq {
        /// Number of the refused event.
        seq: u64,
        /// Number that it should have.
        next: u64,
    },
    /// A receipt for an event that this journal never numbered.
    #[error("a receipt covers event {seq}, but the next event has number {next}")]
    WrongReceipt {
        /// The event named by the receipt.
        seq: u64,
        /// Number of the next event.
        next: u64,
    },
    /// Another agent has used the numbers of this journal.
    #[error(
        "another agent has spoken with incarnation {incarnation} of this journal, which is a copy or older than it was: the next start keeps it aside and begins the next incarnation"
    )]
    Forked {
        /// Incarnation of the journal.
        incarnation: u64,
    },
    /// A value above its limit.
    #[error("{what} of {bytes} bytes is larger than the limit of {max}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// Its limit.
        max: usize,
    },
}

impl Error {
    /// Whether the process must end: the journal's state on disk is unknown.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Error::Write { .. } | Error::Stopped | Error::Damaged { .. })
    }
}
