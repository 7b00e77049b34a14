//! The hub's own keys, and the keys of the bundles it sealed.

use anyhow::Context as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use taffrail_core::digest::Digest;
use taffrail_proto::seal::{BundleKey, Sealed, SealingSecret, seal_bundle};
use taffrail_proto::sign::SigningKey;
use taffrail_runtime::secret;

/// Signs, seals, and remembers under which key a bundle travels. Its keys lie in files of mode 0600.
pub struct Vault {
    /// Signs indexes and receipts.
    pub signer: SigningKey,
    secret: SealingSecret,
    keys: Mutex<BTreeMap<Digest, (Digest, BundleKey)>>,
    offered: Mutex<BTreeSet<Digest>>,
}

impl Vault {
    /// Opens the keys in `folder`, making them at the first start.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds no key.
    pub fn open(folder: &Path) -> anyhow::Result<Vault> {
        let signer = folder.join("hub.key");
        let signer = if let Some(text) = secret::read(&signer)? {
            SigningKey::from_seed_text(&text).context("read the hub's key")?
        } else {
            let fresh = SigningKey::generate()?;
            let text = fresh.seed_text().context("keep the hub's key")?;
            secret::write(&signer, &text)?;
            fresh
        };
        let sealing = folder.join("seal.key");
        let secret = if let Some(text) = secret::read(&sealing)? {
            SealingSecret::parse(&text).context("read the sealing secret")?
        } else {
            let fresh = SealingSecret::generate()?;
            secret::write(&sealing, &fresh.to_text())?;
            fresh
        };
        Ok(Vault { signer, secret, keys: Mutex::default(), offered: Mutex::default() })
    }

    /// Seals a bundle's compressed bytes; the same bytes give the same id and key.
    pub fn seal(&self, content: Digest, compressed: &[u8]) -> Sealed {
        let sealed = seal_bundle(&self.secret, content, compressed);
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(content, (sealed.id, sealed.key));
        sealed
    }

    /// Id and key of a bundle that was sealed in this run.
    pub fn key(&self, content: &Digest) -> Option<(Digest, BundleKey)> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(content).copied()
    }

    /// Sealed ids of the bundles that are known to be on the bus. To be emptied whenever the bus may have lost any.
    pub fn offered(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
