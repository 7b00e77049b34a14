//! Credentials, parsed.

use taffrail_core::id::{AccountKey, ClusterName};
use taffrail_core::time::{At, Span};
use taffrail_proto::join::{Code, Joined, Refused};
use taffrail_proto::sign::PublicKey;

/// What the hub gave, checked once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The cluster's name at that moment.
    pub cluster: ClusterName,
    /// The cluster's identity.
    pub account: AccountKey,
    /// JWT of the agent's NATS user.
    pub nats_jwt: String,
    /// Where NATS answers.
    pub nats_urls: Vec<String>,
    /// Certificates to trust, PEM.
    pub ca_pem: String,
    /// Signs indexes and receipts.
    pub hub_key: PublicKey,
    /// Public half of the offline key that allows new epochs of the hub, if it has one.
    pub restore_key: Option<PublicKey>,
    /// The hub's epoch.
    pub epoch: u64,
    /// Highest incarnation that the hub has seen of this cluster.
    pub incarnation: u64,
    /// The agent's clock when the credentials came.
    pub received_at: At,
    /// How long the JWT is valid from then on.
    pub valid: Span,
}

impl Member {
    /// Checks what the hub gave.
    ///
    /// # Errors
    /// [`Refused`] with `Malformed`: hub and agent are of versions that do not fit.
    pub fn parse(joined: &Joined, received_at: At) -> Result<Member, Refused> {
        let bad =
            |what: &str| Refused::new(Code::Malformed, format!("The hub's answer holds no valid {what}."));
        if joined.nats_urls.is_empty() {
            return Err(bad("NATS URL"));
        }
        Ok(Member {
            cluster: ClusterName::parse(&joined.cluster).map_err(|_| bad("cluster name"))?,
            account: AccountKey::parse(&joined.account).map_err(|_| bad("account"))?,
            nats_jwt: joined.nats_jwt.clone(),
            nats_urls: joined.nats_urls.clone(),
            ca_pem: joined.ca_pem.clone(),
            hub_key: PublicKey::parse(&joined.hub_key).map_err(|_| bad("hub key"))?,
            restore_key: match joined.restore_key.as_str() {
                "" => None,
                text => Some(PublicKey::parse(text).map_err(|_| bad("restore key"))?),
            },
            epoch: joined.epoch,
            incarnation: joined.incarnation,
            received_at,
            valid: Span(joined.valid_ms),
        })
    }
}
