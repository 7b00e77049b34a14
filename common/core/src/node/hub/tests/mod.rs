//! Given, when, then: the hub's step function over a model of the world around it.

mod agents;
mod debts;
mod delivery;
mod effects;
mod fleet;
mod model;
mod orders;
mod owed;
mod property;
mod restores;
mod world;

use super::Hub;
use crate::id::{AppId, ClusterName, CommitId};
use alloc::vec::Vec;

/// More steps than this without time passing, or wakes in one passing of it, mean that somebody spins.
const STEPS_MAX: usize = 5_000;

/// Commits that an app's state on a cluster was made from.
fn considered(hub: &Hub, cluster: &ClusterName, app: &AppId) -> Vec<CommitId> {
    let state = hub.state();
    let (placements, _) = state.placements(cluster, &state.clusters.clusters[cluster]);
    let heads = hub.considered(cluster, app, &placements[app]);
    heads.into_iter().map(|(_, head)| head.commit.clone()).collect()
}
