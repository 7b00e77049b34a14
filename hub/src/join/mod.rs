//! How a cluster joins and renews its credentials, over HTTPS and never over NATS.
//!
//! ```text
//! taffrail cluster join NAME ──► token (its digest is kept) ──► manifest ──kubectl apply──► agent makes its keys
//! agent ── POST /v1/join  token + public keys ──► judged once ──► credentials (again for the same keys, while valid)
//! agent ── POST /v1/renew signed by the event key ──────────────► fresh credentials, however old the last ones are
//! ```
//! What is known about tokens and clusters is the core's business: it stands behind [`Admission`].

mod http;
mod keys;
mod manifest;
mod rate;

use async_trait::async_trait;
use taffrail_core::digest::Digest;
use taffrail_core::id::AccountKey;
use taffrail_proto::join::{Joined, Refused, UserKey};
use taffrail_proto::sign::PublicKey;

pub use http::{Clock, router};
pub use keys::{Keys, refused};
pub use manifest::{Form, Manifest, Rights, manifest};

/// A join whose words were checked; whether the token is good is for [`Admission`] to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Digest of the token that was sent.
    pub token_digest: Digest,
    /// The agent's public keys.
    pub keys: Keys,
    /// Version of the agent.
    pub agent_version: String,
    /// Version of the cluster's API server, empty if not known.
    pub kubernetes_version: String,
    /// `metadata.uid` of `kube-system`, empty if not known.
    pub cluster_uid: String,
}

/// A renewal whose signature and time were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewRequest {
    /// The cluster.
    pub account: AccountKey,
    /// The NATS user that asks for a new JWT.
    pub user: UserKey,
    /// Version of the agent.
    pub agent_version: String,
}

/// Who may join and renew. Promises:
///
/// - `join` records its decision, refusals included, durably before it returns.
/// - `join` answers a repeated request with the same token and keys as the first time, while the token is valid.
/// - `event_key` names the key of a cluster that is enrolled, and refuses unknown and removed ones.
/// - `renew` issues for the NATS user that joined, or for a new one of the same cluster.
#[async_trait]
pub trait Admission: Send + Sync + 'static {
    /// Exchanges a token for credentials.
    ///
    /// # Errors
    /// [`Refused`] with a code that the agent shows.
    async fn join(&self, request: Request) -> Result<Joined, Refused>;

    /// The event key of an enrolled cluster: the renewal must be signed by it.
    ///
    /// # Errors
    /// [`Refused`] with `Identity` or `Revoked`.
    async fn event_key(&self, account: &AccountKey) -> Result<PublicKey, Refused>;

    /// Issues fresh credentials.
    ///
    /// # Errors
    /// [`Refused`] with a code that the agent shows.
    async fn renew(&self, request: RenewRequest) -> Result<Joined, Refused>;
}
