//! The agent's keys, made here and never sent, and the credentials that it gets for them.
//!
//! ```text
//! nothing ──make keys, save──► keys ──token, once──► member ──two thirds of the life over──► renew, also when expired
//!                               ▲ lost reply: same token and same keys are answered again
//! ```
//! Keys are saved before the token is sent: a crash in between costs nothing, because the same keys ask again.

mod client;
mod keys;
mod member;
mod obtain;
mod renew;
mod secret;
mod store;

use std::sync::Arc;

use async_trait::async_trait;
use taffrail_core::time::At;
use taffrail_proto::join::{Code, Refused};

pub use client::HubClient;
pub use keys::Keys;
pub use member::Member;
pub use obtain::{Identity, Obtain, obtain};
pub use renew::{Renewer, is_due};
pub use secret::Secret;
pub use store::Directory;

/// Name of the Secret in the agent's namespace that holds the identity; the join manifest makes it empty.
pub const SECRET_NAME: &str = "taffrail-identity";
/// Key in that Secret.
pub const SECRET_KEY: &str = "identity.json";

/// The agent's own clock: wall time, which may be wrong.
pub type Clock = Arc<dyn Fn() -> At + Send + Sync>;

/// Where the identity is kept. Promises:
///
/// - `load` gives `None` only if it is sure that nothing is kept; "could not read" is an error.
/// - `save` replaces the whole text durably before it returns, or fails and leaves the old one.
/// - `save` fails if someone else has saved since the last `load` or `save` of this store (two agents starting at once).
/// - Nobody but the agent can read what is kept.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads what is kept.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    async fn load(&self) -> Result<Option<String>, StoreError>;

    /// Replaces what is kept. The text is secret.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written or someone else wrote.
    async fn save(&self, text: &str) -> Result<(), StoreError>;
}

/// Why the identity cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{action}")]
pub struct StoreError {
    /// What was tried, such as `read the secret taffrail-identity`.
    pub action: String,
    /// Why it failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Refused, by the hub or before it was asked.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The identity cannot be read or written.
    #[error("{}: {} Next: {}", Code::Store, Code::Store.sentence(), Code::Store.next())]
    Store(#[from] StoreError),
    /// Asked to stop before there was an answer.
    #[error("asked to stop before the hub answered")]
    Stopped,
}
