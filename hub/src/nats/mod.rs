//! The NATS server's identities and its process.
//!
//! Operator mode with JWT accounts: the hub's account has `JetStream` and four exports, each cluster has an
//! account of its own that imports those four with its own key and nothing else. With
//! one shared account permissions alone do not keep clusters apart.
//!
//! ```text
//! Keys::open ──► Managed::start ──► connect(system_login) ──► Accounts::push_all ──► connect(hub_login) ──► bus
//! Keys::bootstrap (outside server) ─┘        └► Accounts::push_hub (outside server only)
//! ```

pub mod accounts;
mod configuration;
pub mod jwt;
pub mod keys;
pub mod managed;
mod process;
pub mod version;

use std::path::PathBuf;

use taffrail_core::id::AccountKey;

pub use accounts::{Accounts, Cluster};
pub use keys::{Keys, UserKey};
pub use managed::{Managed, Server, Settings, TlsFiles};

/// What goes wrong with the server, its keys and its accounts. No message holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold the kind of key that belongs there.
    #[error("{} does not hold the nkey seed that belongs there", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// A credentials file does not hold a JWT and a seed.
    #[error("{} is not a NATS credentials file", path.display())]
    NoCredential {
        /// The file.
        path: PathBuf,
    },
    /// A JWT could not be signed.
    #[error("sign NATS credential")]
    Sign(#[source] nkeys::error::Error),
    /// A login could not be made.
    #[error("use NATS credential")]
    Login(#[source] taffrail_runtime::nats::Error),
    /// Not the public key of a NATS user.
    #[error("{text:?} is not the public key of a NATS user")]
    NotUser {
        /// What was given, cut at 60 characters.
        text: String,
    },
    /// An account that was not made here, or was removed.
    #[error("account {account} has no signing key here")]
    NoAccount {
        /// The account.
        account: AccountKey,
    },
    /// The server did not answer.
    #[error("tell NATS about an account")]
    Push(#[source] async_nats::client::RequestError),
    /// The server answered no.
    #[error("NATS refused an account: {reason}")]
    Refused {
        /// The server's words, cut at 300 characters.
        reason: String,
    },
    /// A server with keys of others cannot be configured here.
    #[error("this hub does not hold the operator key of its NATS server, so it cannot run one")]
    NotOurServer,
    /// There is no nats-server.
    #[error(
        "nats-server not found (looked at {looked}); install version 2.14 or later from https://nats.io/download, \
         or name it in nats.program, or use an outside server with nats.url"
    )]
    NoProgram {
        /// Where it was looked for.
        looked: String,
    },
    /// A server that is too old to keep clusters apart.
    #[error("nats-server {found} is too old: at least 2.14.0, 2.12.7 or 2.11.16 is needed")]
    TooOld {
        /// Its version, as it says.
        found: String,
    },
    /// The process could not be started or asked.
    #[error("start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The process ended before it answered.
    #[error("nats-server ended at its start: {said}")]
    Ended {
        /// The last line it wrote.
        said: String,
    },
    /// Nobody answered in time.
    #[error("nats-server did not answer at {address} within {seconds} s: {said}")]
    Silent {
        /// Where.
        address: String,
        /// How long.
        seconds: u64,
        /// The last line it wrote.
        said: String,
    },
    /// Another server answers there.
    #[error("another NATS server answers at {address}; choose another nats.listen")]
    Foreign {
        /// Where.
        address: String,
    },
    /// A setting cannot be written into the server's configuration.
    #[error("{what} holds a character that the configuration of nats-server cannot hold")]
    Unwritable {
        /// Which setting.
        what: &'static str,
    },
    /// A server left over from before does not end.
    #[error("nats-server with process id {pid} does not end")]
    Immortal {
        /// Its process id.
        pid: u32,
    },
}
