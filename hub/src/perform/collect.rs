//! Bundles that nothing needs any more leave the bus and the log.

use super::Tools;
use crate::driver::Handle;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use taffrail_core::digest::Digest;
use taffrail_core::id::ClusterName;
use taffrail_core::node::hub::Hub;
use tokio_util::sync::CancellationToken;

/// Pause between two collections.
const EVERY: Duration = Duration::from_mins(5);

/// What the last indexes of a cluster named: content digest and sealed id.
type Named = BTreeSet<(Digest, Digest)>;

/// Collects until `stop`. A bundle stays while one of the last `kept` indexes of any cluster names it, or a variant's
/// newest rendering is it; after a start every bundle stays for `kept` collections.
pub async fn collect(tools: Arc<Tools>, handle: Handle, kept: usize, stop: CancellationToken) {
    let mut history: BTreeMap<ClusterName, VecDeque<Named>> = BTreeMap::new();
    let mut rounds = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
        let looked = handle.look(|hub, _| (hub.read_only().is_some(), named(hub), renderings(hub))).await;
        let Ok((read_only, indexes, renderings)) = looked else { return };
        // A log that is too old does not know what is needed.
        if read_only {
            continue;
        }
        for (cluster, index) in indexes {
            let past = history.entry(cluster).or_default();
            if past.back() != Some(&index) {
                past.push_back(index);
            }
            while past.len() > kept.max(1) {
                past.pop_front();
            }
        }
        rounds += 1;
        if rounds <= kept {
            continue;
        }
        let needed: Named = history.values().flatten().flatten().copied().chain(renderings).collect();
        if let Err(error) = sweep(&tools, &needed).await {
            tracing::warn!(error = format!("{error:#}"), "collection of bundles failed, will retry");
        }
    }
}

fn named(hub: &Hub) -> Vec<(ClusterName, Named)> {
    let fleet = hub.state().planner.fleet.iter();
    let names = |desired: &taffrail_core::planner::Desired| {
        desired.index.entries.values().map(|entry| (entry.digest, entry.sealed)).collect()
    };
    fleet.map(|(cluster, desired)| (cluster.clone(), names(desired))).collect()
}

fn renderings(hub: &Hub) -> Named {
    hub.state().planner.bundles.values().map(|bundle| (bundle.digest, bundle.sealed)).collect()
}

async fn sweep(tools: &Arc<Tools>, needed: &Named) -> anyhow::Result<()> {
    let sealed: BTreeSet<Digest> = needed.iter().map(|(_, sealed)| *sealed).collect();
    for id in tools.bus.list_bundles().await?.difference(&sealed) {
        tools.vault.offered().remove(id);
        tools.bus.remove_bundle(id).await?;
    }
    let contents: BTreeSet<Digest> = needed.iter().map(|(content, _)| *content).collect();
    let log = tools.log.clone();
    let blobs = tokio::task::spawn_blocking(move || log.list_blobs()).await??;
    for blob in blobs.iter().filter(|blob| !contents.contains(&blob.digest)) {
        tools.log.remove_blob(blob.digest).await?;
    }
    Ok(())
}
