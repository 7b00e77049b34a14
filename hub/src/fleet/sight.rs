//! One state, looked at: what is heard of clusters, and which apps there are.

use taffrail_core::catalog::Root;
use taffrail_core::cluster::Cluster;
use taffrail_core::id::{AppId, AppName, ClusterName};
use taffrail_core::node::hub::{Durable, Hub};
use taffrail_core::time::{At, Span};
use taffrail_proto::v1::{Condition, ConnectionStatus};

/// Most conditions of one row: more than a person reads.
pub(super) const CONDITIONS_MAX: usize = 50;

/// A state and the time of the look.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) hub: &'a Hub,
    pub(super) at: At,
    pub(super) lease: Span,
}

impl<'a> Sight<'a> {
    pub(super) fn state(&self) -> &'a Durable {
        self.hub.state()
    }

    /// When a cluster was last heard of, as far as anybody knows: heartbeats are not in the log, so after a restart of
    /// the hub the last event counts.
    pub(super) fn heard_at(&self, name: &ClusterName, cluster: &Cluster) -> At {
        let Some(enrolment) = &cluster.enrolment else { return At(0) };
        let desired = self.state().planner.fleet.get(name);
        let reported = desired.into_iter().flat_map(|desired| desired.reports.values()).map(|said| said.at);
        let logged = reported.max().unwrap_or_default().max(enrolment.joined_at);
        self.hub.heard_at(name).or(cluster.silent_since).unwrap_or(logged)
    }

    pub(super) fn connection(&self, name: &ClusterName, cluster: &Cluster) -> ConnectionStatus {
        if cluster.enrolment.is_none() {
            return ConnectionStatus::NeverJoined;
        }
        let fresh = self.at.since(self.heard_at(name, cluster)) <= self.lease;
        if fresh && cluster.silent_since.is_none() {
            ConnectionStatus::Connected
        } else {
            ConnectionStatus::Silent
        }
    }
}

/// Every app that Git declares or an index holds.
pub(super) fn known_apps(state: &Durable) -> impl Iterator<Item = AppId> + '_ {
    let declared = state.catalog.roots.iter().flat_map(|((source, root), listed)| {
        let rest = match root {
            Root::Cluster(name) if listed.listing.rest => AppName::parse(&format!("{name}-root")).ok(),
            _ => None,
        };
        let names = listed.listing.apps.iter().map(|declared| declared.name.clone());
        names.chain(rest).map(|name| AppId { source: source.clone(), name })
    });
    let held = state.planner.fleet.values().flat_map(|desired| desired.index.entries.keys().cloned());
    declared.chain(held)
}

/// A condition without a time of its own.
pub(super) fn condition(kind: &str, message: impl Into<String>, event_index: u64) -> Condition {
    Condition { kind: kind.to_owned(), message: message.into(), since_ms: 0, event_index }
}
