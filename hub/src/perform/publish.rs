//! An index on its way: its bundles first, then the signed and sealed index as the last value.

use super::Tools;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use taffrail_core::desired::{Entry, Index};
use taffrail_core::digest::Digest;
use taffrail_core::id::{AccountKey, ClusterName};
use taffrail_core::node::hub::Input;
use taffrail_proto::index::{self, Terms};
use taffrail_proto::seal::{BoxPublicKey, BundleKey};

/// What is to be published.
pub(super) struct Job {
    pub(super) cluster: ClusterName,
    pub(super) account: AccountKey,
    pub(super) box_key: String,
    pub(super) index: Index,
    pub(super) terms: Terms,
}

impl Job {
    /// Trace of the newest change in the index.
    pub(super) fn trace(&self) -> Option<String> {
        self.index.entries.values().max_by_key(|entry| entry.since)?.trace.clone()
    }
}

/// Publishes an index whose every bundle is on the bus.
pub(super) async fn publish(tools: Arc<Tools>, job: Job) -> anyhow::Result<Input> {
    let recipient = BoxPublicKey::parse(&job.box_key)?;
    let mut keys = BTreeMap::new();
    // What was taken over from before a restore may be rendered no more here; its agent holds the bundle. It gets a key with
    // the entry that a rendering under this epoch makes, and not before: the same mark must always be the same bytes.
    let epoch = job.index.mark.epoch;
    let keyed = |entry: &&Entry| entry.withdrawn.is_none() && entry.since.epoch == epoch;
    for entry in job.index.entries.values().filter(keyed) {
        keys.insert(entry.sealed, offer(&tools, entry.digest, entry.sealed).await?);
    }
    let sealed = index::seal(&job.index, &job.account, &recipient, &tools.vault.signer, &keys, &job.terms)?;
    tools.bus.publish_index(&job.account, sealed.into(), None, job.index.mark).await?;
    tracing::debug!(cluster = %job.cluster, mark = %job.index.mark, "published index");
    Ok(Input::Published { cluster: job.cluster, mark: job.index.mark })
}

/// Makes sure that a bundle is on the bus; its key.
async fn offer(tools: &Arc<Tools>, content: Digest, sealed: Digest) -> anyhow::Result<BundleKey> {
    let known = tools.vault.key(&content).filter(|(id, _)| *id == sealed);
    if let Some((_, key)) = known
        && tools.vault.offered().contains(&sealed)
    {
        return Ok(key);
    }
    let log = tools.log.clone();
    let stored = tokio::task::spawn_blocking(move || log.get_blob(&content)).await??;
    let bytes = stored.with_context(|| format!("bundle {} is not in the log's blobs", content.short()))?;
    let again = tools.vault.seal(content, &bytes);
    anyhow::ensure!(
        again.id == sealed,
        "bundle {} seals to another id: was seal.key replaced?",
        content.short()
    );
    if !tools.bus.has_bundle(&sealed).await? {
        tools.bus.put_bundle(&sealed, again.bytes.into()).await?;
    }
    tools.vault.offered().insert(sealed);
    Ok(again.key)
}
