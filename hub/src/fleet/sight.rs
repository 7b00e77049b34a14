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

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_core::cluster::{Command, JoinRequest};
    use taffrail_core::digest::Digest;
    use taffrail_core::event::Actor;
    use taffrail_core::id::AccountKey;
    use taffrail_core::node::hub::{self as core, Input};

    const LEASE: Span = Span(30);

    fn hub() -> Hub {
        let mut hub = Hub::new(Durable::default(), core::Settings { lease: LEASE });
        let (cluster, token) = (ClusterName::parse("paris").unwrap(), Digest([1; 32]));
        let command = Command::Invite {
            cluster,
            labels: std::collections::BTreeMap::new(),
            token,
            expires_at: At(999),
        };
        let actor = Actor::Person("ada".into());
        hub.step(Input::Ordered { token: 1, actor, command: core::Command::Cluster(command) }, At(100));
        hub
    }

    fn join(hub: &mut Hub) {
        let request = JoinRequest {
            token: Digest([1; 32]),
            account: AccountKey::parse(&format!("A{}", "A".repeat(55))).unwrap(),
            event_key: [2; 32],
            box_key: "X".into(),
            user_key: "U".into(),
            agent_version: "0.1.0".into(),
            kubernetes_version: String::new(),
        };
        hub.step(Input::Joining { token: 2, request }, At(100));
    }

    fn connection(hub: &Hub, at: u64) -> ConnectionStatus {
        let (name, cluster) = hub.state().clusters.clusters.iter().next().unwrap();
        Sight { hub, at: At(at), lease: LEASE }.connection(name, cluster)
    }

    #[test]
    fn a_cluster_is_connected_for_the_lease_and_then_silent() {
        let mut hub = hub();
        assert_eq!(connection(&hub, 100), ConnectionStatus::NeverJoined);
        join(&mut hub);
        for (at, expected) in [(130, ConnectionStatus::Connected), (131, ConnectionStatus::Silent)] {
            assert_eq!(connection(&hub, at), expected, "{at}, before the hub noticed");
        }
        hub.step(Input::Wake, At(131));
        assert_eq!(connection(&hub, 131), ConnectionStatus::Silent, "after it noticed");
    }

    #[test]
    fn after_a_restart_a_cluster_is_as_old_as_its_last_event() {
        let mut before = hub();
        join(&mut before);
        let after = Hub::new(before.state().clone(), core::Settings { lease: LEASE });
        assert_eq!(connection(&after, 110), ConnectionStatus::Connected);
        assert_eq!(connection(&after, 5_000), ConnectionStatus::Silent, "nobody heard of it since");
    }
}
