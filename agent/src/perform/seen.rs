//! What the watches see, on its way to the driver.

use super::fingerprint;
use crate::driver::Handle;
use crate::kube::{Change, Gvk, Kind};
use std::collections::{BTreeMap, BTreeSet};
use taffrail_core::node::agent::Input;
use tokio::sync::mpsc;

/// Hands what the watches see to the driver, for as long as they see anything. Each kind is watched in so many parts: it
/// is listed when all of them are.
pub async fn hand_over(changes: &mut mpsc::Receiver<Change>, handle: &Handle, parts: usize) {
    let mut told: BTreeMap<Gvk, BTreeSet<Option<String>>> = BTreeMap::new();
    while let Some(change) = changes.recv().await {
        match change {
            Change::Seen { key, print } => {
                handle.input(Input::Seen { key, fingerprint: fingerprint(&print) }).await;
            }
            Change::Gone { key } => handle.input(Input::Gone { key }).await,
            Change::Listed { gvk, namespace } => {
                tracing::debug!(kind = %gvk, namespace, "watch is complete");
                told.entry(gvk.clone()).or_default().insert(namespace);
                if told[&gvk].len() >= parts {
                    handle.input(listed(gvk, true)).await;
                }
            }
            Change::WentBack { gvk, was, is } => {
                tracing::warn!(kind = %gvk, was, is, "the cluster was restored from a backup, all is verified again");
                told.remove(&gvk);
                let Gvk { group, version, kind } = gvk;
                handle.input(Input::WentBack { kind: (group, version, kind), was, is }).await;
            }
            Change::Failing { gvk, namespace, error } => {
                tracing::warn!(kind = %gvk, namespace, error = %error, "watch failed, will retry");
                if error.kind.is_lasting() {
                    let served = error.kind == Kind::Forbidden;
                    handle.input(listed(gvk, served)).await;
                }
            }
        }
    }
}

/// Nothing more is to be waited for from the watch of a kind.
fn listed(Gvk { group, version, kind }: Gvk, served: bool) -> Input {
    Input::Listed { kind: (group, version, kind), served }
}
