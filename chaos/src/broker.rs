//! The broker: the last index of each cluster, sealed bundles, and who may connect. It remembers what it likes.

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use taffrail_core::desired::Mark;
use taffrail_core::digest::Digest;
use taffrail_core::id::AccountKey;

/// What the broker holds.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    /// The streams exist; before that nothing can be read or written.
    pub(crate) streams: bool,
    /// Sealed indexes.
    pub(crate) indexes: BTreeMap<AccountKey, Bytes>,
    /// Their marks, which nobody signed.
    pub(crate) marks: BTreeMap<AccountKey, Mark>,
    /// Sealed bundles.
    pub(crate) bundles: BTreeMap<Digest, Bytes>,
    /// Accounts that are known.
    pub(crate) accounts: BTreeSet<AccountKey>,
}
