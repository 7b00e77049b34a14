//! An agent's public keys, and what the core's refusal of a token is called outside.

use taffrail_core::cluster::TokenRefused;
use taffrail_proto::join::{Code, Refused, UserKey};
use taffrail_proto::seal::BoxPublicKey;
use taffrail_proto::sign::PublicKey;

/// An agent's public keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// NATS user.
    pub user: UserKey,
    /// Signs events and renewals.
    pub event: PublicKey,
    /// Indexes are sealed to it.
    pub boxed: BoxPublicKey,
}

/// The refusal that the agent is told.
pub fn refused(reason: TokenRefused) -> Refused {
    match reason {
        TokenRefused::Foreign => {
            Refused::new(Code::TokenUnknown, "No token with this digest was issued here.")
        }
        TokenRefused::Used => Refused::new(Code::TokenUsed, "An agent with other keys joined with it."),
        TokenRefused::Expired => {
            Refused::new(Code::TokenExpired, "It was printed longer ago than join.token-ttl (1h by default).")
        }
    }
}
