//! Bundles and desired indexes, and how facts change them.

use super::variant::Variant;
use crate::desired::{Change, Index, Mark};
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
    /// A new epoch began and the cluster has not shown yet what it holds: nothing of its index may change.
    pub unadopted: bool,
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
        HubFact::ClusterAdopted { mark, changes, .. } => {
            if let Some(desired) = cluster.and_then(|name| state.fleet.get_mut(name)) {
                adopt(desired, index, *mark, changes);
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

/// What the cluster holds is what its index says; what was reported and confirmed before is of another time.
fn adopt(desired: &mut Desired, index: u64, mark: Mark, changes: &[Change]) {
    desired.index.apply(mark, changes);
    desired.raised = index;
    desired.unadopted = false;
    desired.reports.clear();
    desired.withdrawn.clear();
    let approved =
        desired.index.entries.iter().filter_map(|(app, entry)| Some((app.clone(), entry.approved?)));
    desired.approved = approved.collect();
}

/// A new epoch begins: the index of every enrolled cluster gets a mark in it, and waits for what the cluster holds.
pub fn raise(state: &mut State, epoch: u64, index: u64, enrolled: impl Iterator<Item = ClusterName>) {
    state.epoch = epoch;
    for name in enrolled {
        let desired = state.fleet.entry(name).or_default();
        desired.index.mark = Mark { epoch, generation: desired.index.mark.generation + 1 };
        desired.raised = index;
        desired.unadopted = true;
    }
}

/// Applies what an agent says of one instance. What no index has (any more) is nothing to remember.
pub fn report(state: &mut State, cluster: &ClusterName, app: &AppId, status: &Status, at: At, index: u64) {
    let desired = state.fleet.get_mut(cluster).filter(|desired| desired.index.entries.contains_key(app));
    if let Some(desired) = desired {
        desired.reports.insert(app.clone(), Report { status: status.clone(), at, index });
    }
}

/// Notes that an agent confirmed a removal, if it is the one that the index asks for: an app may have come back and been
/// withdrawn again while an older confirmation was on its way. One that names no entry is taken for the newest.
pub fn withdrawn(state: &mut State, cluster: &ClusterName, app: &AppId, since: Option<Mark>) {
    let desired = state.fleet.entry(cluster.clone()).or_default();
    let asked = desired.index.entries.get(app).filter(|entry| entry.withdrawn.is_some());
    if asked.is_some_and(|entry| since.is_none_or(|since| since == entry.since)) {
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
