//! Clusters as rows.

use super::instance;
use super::sight::{CONDITIONS_MAX, Sight, condition};
use taffrail_core::cluster::Cluster;
use taffrail_core::id::ClusterName;
use taffrail_proto::v1::{ClusterRow, Condition, HealthStatus, SyncStatus};

/// Every cluster as it last was.
pub(super) fn rows(sight: Sight<'_>) -> Vec<ClusterRow> {
    sight.state().clusters.clusters.iter().map(|(name, cluster)| row(sight, name, cluster)).collect()
}

fn row(sight: Sight<'_>, name: &ClusterName, cluster: &Cluster) -> ClusterRow {
    let state = sight.state();
    let enrolment = cluster.enrolment.as_ref();
    let desired = state.planner.fleet.get(name);
    let instances: Vec<_> =
        instance::on(sight, name, cluster, |_| true).into_iter().map(|placed| placed.row).collect();
    let count = |test: fn(&taffrail_proto::v1::InstanceRow) -> bool| {
        u32::try_from(instances.iter().filter(|row| test(row)).count()).unwrap_or(u32::MAX)
    };
    let vitals = sight.hub.vitals(name).unwrap_or_default();
    ClusterRow {
        name: name.to_string(),
        labels: cluster.labels.clone(),
        connection: sight.connection(name, cluster) as i32,
        heard_at_ms: sight.heard_at(name, cluster).0,
        state_index: state.index,
        account: enrolment.map(|enrolment| enrolment.account.to_string()).unwrap_or_default(),
        joined_at_ms: enrolment.map_or(0, |enrolment| enrolment.joined_at.0),
        agent_version: enrolment.map(|enrolment| enrolment.agent_version.clone()).unwrap_or_default(),
        kubernetes_version: enrolment
            .map(|enrolment| enrolment.kubernetes_version.clone())
            .unwrap_or_default(),
        generation_desired: desired.map_or(0, |desired| desired.index.mark.generation),
        generation_taken: vitals.held.generation,
        instances: count(|_| true),
        instances_synced: count(|row| row.sync() == SyncStatus::Synced),
        instances_healthy: count(|row| row.health() == HealthStatus::Healthy),
        outbox: vitals.waiting,
        conditions: conditions(sight, name, cluster),
        invited_until_ms: cluster.invitation.as_ref().map_or(0, |open| open.expires_at.0),
    }
}

fn conditions(sight: Sight<'_>, name: &ClusterName, cluster: &Cluster) -> Vec<Condition> {
    let mut conditions = Vec::new();
    if cluster.leaving {
        let left = sight.state().planner.fleet.get(name).map_or(0, |left| left.index.entries.len());
        let message = format!("It leaves the fleet; {left} apps are still to be taken away.");
        conditions.push(condition("Leaving", message, 0));
    }
    if cluster.enrolment.is_none()
        && cluster.invitation.as_ref().is_some_and(|open| open.expires_at <= sight.at)
    {
        let message = format!("Its token has expired. Next: taffrail cluster join {name}");
        conditions.push(condition("InvitationExpired", message, 0));
    }
    let account = cluster.enrolment.as_ref().map(|enrolment| &enrolment.account);
    if let Some(why) = account.and_then(|account| sight.hub.refused_events(account, sight.at)) {
        let message = format!(
            "{why}: two agents have its identity, or one has an older journal. Next: taffrail log --cluster {name} --kind EventRefused"
        );
        conditions.push(condition("EventsRefused", message, 0));
    }
    let refused = sight.hub.refused(name).into_iter().flatten();
    conditions.extend(refused.map(|(app, why)| condition("NotPlaced", format!("{app}: {why}"), 0)));
    conditions.truncate(CONDITIONS_MAX);
    conditions
}
