//! What the log makes: the durable state of the hub.

use crate::catalog::Placement;
use crate::cluster::Chain;
use crate::event::{AgentEvent, AgentFact, HubEvent, HubFact};
use crate::id::{AccountKey, AppId, ClusterName};
use crate::time::At;
use crate::{catalog, cluster, epoch, planner, source};
use alloc::collections::BTreeMap;
use alloc::string::String;

/// The machines of the hub, side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// Sources and revisions.
    pub sources: source::State,
    /// Declarations.
    pub catalog: catalog::State,
    /// The fleet.
    pub clusters: cluster::State,
    /// Bundles and indexes.
    pub planner: planner::State,
    /// Epochs of the hub.
    pub epochs: epoch::State,
    /// Log index of the last event that was applied.
    pub index: u64,
    /// When that event was appended.
    pub appended_at: At,
}

impl Durable {
    /// Applies a fact of the hub.
    pub fn hub_event(&mut self, index: u64, appended_at: At, event: &HubEvent) {
        source::evolve(&mut self.sources, index, event);
        catalog::evolve(&mut self.catalog, index, event);
        cluster::evolve(&mut self.clusters, event);
        planner::evolve(&mut self.planner, index, event);
        epoch::evolve(&mut self.epochs, index, event);
        if let HubFact::EpochRaised { grant } = &event.fact {
            let enrolled = self.clusters.accounts.values().cloned();
            planner::state::raise(&mut self.planner, grant.epoch, index, enrolled);
        }
        self.stand_at(index, appended_at);
    }

    /// Applies a fact of an agent: its place in the chain, and what it says if it can be read.
    /// One of an unknown account (its cluster was removed) counts, and says nothing.
    pub fn agent_event(
        &mut self,
        index: u64,
        appended_at: At,
        account: &AccountKey,
        chain: Chain,
        event: Option<&AgentEvent>,
    ) {
        self.clusters.advance(account, chain);
        self.stand_at(index, appended_at);
        let Some((name, event)) = self.clusters.accounts.get(account).zip(event) else { return };
        match (&event.fact, &event.context.app) {
            (AgentFact::InstanceChanged(status), Some(app)) => {
                planner::report(&mut self.planner, name, app, status, appended_at, index);
            }
            (AgentFact::Withdrawn { since, .. }, Some(app)) => {
                planner::state::withdrawn(&mut self.planner, name, app, *since);
            }
            (AgentFact::Started { version, kubernetes, .. }, _) => {
                let cluster = self.clusters.clusters.get_mut(name);
                if let Some(enrolment) = cluster.and_then(|cluster| cluster.enrolment.as_mut()) {
                    enrolment.agent_version.clone_from(version);
                    enrolment.kubernetes_version.clone_from(kubernetes);
                }
            }
            _ => {}
        }
    }

    /// What Git wants on a cluster: by app, or why an app cannot be placed.
    pub fn placements(
        &self,
        name: &ClusterName,
        cluster: &cluster::Cluster,
    ) -> (BTreeMap<AppId, Placement>, BTreeMap<AppId, String>) {
        let index = self.planner.fleet.get(name).map(|desired| &desired.index);
        catalog::placements(&self.catalog, &self.sources, name, cluster, index)
    }

    /// Passes over an event of a kind that is not known.
    pub fn skip(&mut self, index: u64, appended_at: At) {
        self.stand_at(index, appended_at);
    }

    fn stand_at(&mut self, index: u64, appended_at: At) {
        self.index = index;
        self.appended_at = self.appended_at.max(appended_at);
    }
}
