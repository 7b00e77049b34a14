//! Who an agent is.

use std::sync::{Arc, OnceLock};
use taffrail_core::digest::Digest;
use taffrail_core::id::{AccountKey, ClusterName};
use taffrail_proto::seal::BoxKey;
use taffrail_proto::sign::SigningKey;

/// What an agent presents, and what it got for it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Number of this identity in the history.
    pub(crate) number: u64,
    /// The one-time token.
    pub(crate) token: Digest,
    /// Signs events.
    pub(crate) key: Arc<SigningKey>,
    /// Set once the hub let it in.
    pub(crate) member: Option<(AccountKey, ClusterName)>,
}

/// The key to which the indexes of an identity are sealed. Keys are made once: what they are decides nothing.
pub(crate) fn box_key(number: u64) -> &'static BoxKey {
    static KEYS: OnceLock<Vec<BoxKey>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| (0..16).map(|_| BoxKey::generate()).collect());
    &keys[usize::try_from(number).unwrap_or(0) % keys.len()]
}
