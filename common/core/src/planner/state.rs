//! Bundles and desired indexes, and how facts change them.

use super::variant::Variant;
use crate::desired::{Index, Mark};
use crate::digest::Digest;
use crate::event::agent::Status;
use crate::event::{HubEvent, HubFact};
use crate::id::{AppId, ClusterName, CommitId};
use crate::time::At;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// The newest rendering of a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Content digest.
    pub digest: Digest,
    /// The name under which it travels.
    pub sealed: Digest,
    /// The commit it was rendered from.
    pub commit: CommitId,
    /// Number of objects.
    pub objects: u32,
    /// Path prefixes that were read.
    pub inputs: Vec<String>,
    /// Log index of its event.
    pub index: u64,
    /// Trace of the commit.
    pub trace: Option<String>,
}

/// The last failed rendering of a variant, until a later one succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The commit that could not be rendered.
    pub commit: CommitId,
    /// File, document, line and cause, as one sentence.
    pub message: String,
    /// Log index of its event.
    pub index: u64,
}

/// What an agent last said of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its words.
    pub status: Status,
    /// When that was appended here.
    pub at: At,
    /// Log index of its event.
    pub index: u64,
}

/// Desired and reported state of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The index in force.
    pub index: Index,
    /// Log index of the event that raised it.
    pub raised: u64,
    /// What the agent said, by app.
    pub reports: BTreeMap<AppId, Report>,
    /// Apps whose newest bundle a person asked for.
    pub requested: BTreeSet<AppId>,
    /// Bundles whose deletions a person approved.
    pub approved: BTreeMap<AppId, Digest>,
    /// Apps whose removal the agent confirmed and whose entry is still there.
    pub withdrawn: BTreeSet<AppId>,
}

/// Everything the planner knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Epoch of this hub.
    pub epoch: u64,
    /// Newest rendering by variant.
    pub bundles: BTreeMap<Variant, Bundle>,
    /// Failed renderings by variant.
    pub failures: BTreeMap<Variant, Failure>,
    /// By cluster.
    pub fleet: BTreeMap<ClusterName, Desired>,
}

/// Applies one fact of the hub; facts of other machines change nothing.
pub fn evolve(state: &mut State, index: u64, event: &HubEvent) {
    let cluster = event.context.cluster.as_ref();
    match &event.fact {
        HubFact::Started { epoch, .. } => state.epoch = *epoch,
        HubFact::BundleSealed { variant, digest, sealed, objects, inputs, .. } => {
            let Some(commit) = event.context.commit.clone() else { return };
            state.failures.remove(variant);
            let bundle = Bundle {
                digest: *digest,
                sealed: *sealed,
                commit,
                objects: *objects,
                inputs: inputs.clone(),
                index,
                trace: event.context.trace.clone(),
            };
            state.bundles.insert(variant.clone(), bundle);
        }
        HubFact::RenderFailed { variant, file, document, line, cause } => {
            let Some(commit) = event.context.commit.clone() else { return };
            let message = sentence(file.as_deref(), *document, *line, cause);
            state.failures.insert(variant.clone(), Failure { commit, message, index });
        }
        HubFact::IndexRaised { mark, changes } => {
            let Some(desired) = cluster.map(|name| state.fleet.entry(name.clone()).or_default()) else {
                return;
            };
            desired.index.apply(*mark, changes);
            desired.raised = index;
            for change in changes {
                desired.requested.remove(&change.app);
                desired.withdrawn.remove(&change.app);
                if change.entry.is_none() {
                    desired.reports.remove(&change.app);
                    desired.approved.remove(&change.app);
                }
            }
        }
        HubFact::SyncRequested { clusters, .. } => {
            let Some(app) = &event.context.app else { return };
            for name in clusters {
                state.fleet.entry(name.clone()).or_default().requested.insert(app.clone());
            }
        }
        HubFact::Approved { digest, .. } => {
            if let (Some(name), Some(app)) = (cluster, &event.context.app) {
                state.fleet.entry(name.clone()).or_default().approved.insert(app.clone(), *digest);
            }
        }
        HubFact::ClusterRenamed { from, to } => {
            if let Some(desired) = state.fleet.remove(from) {
                state.fleet.insert(to.clone(), desired);
            }
        }
        HubFact::ClusterRemoved { .. } => {
            cluster.map(|name| state.fleet.remove(name));
        }
        _ => {}
    }
}

/// Applies what an agent says of one instance.
pub fn report(state: &mut State, cluster: &ClusterName, app: &AppId, said: Report) {
    let desired = state.fleet.entry(cluster.clone()).or_default();
    if desired.index.entries.contains_key(app) {
        desired.reports.insert(app.clone(), said);
    }
}

/// Notes that an agent confirmed a removal.
pub fn withdrawn(state: &mut State, cluster: &ClusterName, app: &AppId) {
    let desired = state.fleet.entry(cluster.clone()).or_default();
    if desired.index.entries.get(app).is_some_and(|entry| entry.withdrawn.is_some()) {
        desired.withdrawn.insert(app.clone());
    }
}

fn sentence(file: Option<&str>, document: Option<u32>, line: Option<u32>, cause: &str) -> String {
    let mut text = String::new();
    if let Some(file) = file {
        text.push_str(file);
        for part in
            [line.map(|line| alloc::format!(":{line}")), document.map(|n| alloc::format!(" (document {n})"))]
        {
            text.push_str(part.as_deref().unwrap_or_default());
        }
        text.push_str(": ");
    }
    text.push_str(cause);
    text
}

impl State {
    /// The mark that the next index of a cluster gets.
    pub fn next_mark(&self, cluster: &ClusterName) -> Mark {
        let held = self.fleet.get(cluster).map(|desired| desired.index.mark).unwrap_or_default();
        Mark { epoch: self.epoch, generation: held.generation + 1 }
    }
}
