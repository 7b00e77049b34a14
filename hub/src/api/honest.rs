//! Green lights carry their age: what a cluster said before it fell silent is not what is.

use taffrail_proto::v1::{AppRow, ClusterRow, ConnectionStatus, HealthStatus, InstanceRow, SyncStatus};

/// Makes counts of a cluster that is not heard from zero: nobody knows them.
pub(super) fn cluster(row: &mut ClusterRow) {
    if row.connection() != ConnectionStatus::Connected {
        row.instances_synced = 0;
        row.instances_healthy = 0;
    }
}

/// Makes instances on silent clusters unknown, and sums up what is left.
pub(super) fn app(row: &mut AppRow) {
    row.instances.iter_mut().for_each(instance);
    row.instances.sort_by(|one, other| one.cluster.cmp(&other.cluster));
    let count = |test: fn(&InstanceRow) -> bool| {
        u32::try_from(row.instances.iter().filter(|row| test(row)).count()).unwrap_or(u32::MAX)
    };
    let total = count(|_| true);
    let synced = count(|row| row.sync() == SyncStatus::Synced);
    let healthy = count(|row| row.health() == HealthStatus::Healthy);
    let unknown = count(|row| row.sync() == SyncStatus::Unknown || row.health() == HealthStatus::Unknown);
    let worst_sync = row.instances.iter().map(InstanceRow::sync).min_by_key(|sync| sync_rank(*sync));
    let worst_health =
        row.instances.iter().map(InstanceRow::health).min_by_key(|health| health_rank(*health));
    row.instances_total = total;
    row.instances_synced = synced;
    row.instances_healthy = healthy;
    row.instances_unknown = unknown;
    row.heard_at_ms = row.instances.iter().map(|row| row.heard_at_ms).min().unwrap_or(0);
    row.set_sync(worst_sync.unwrap_or(SyncStatus::Unknown));
    row.set_health(worst_health.unwrap_or(HealthStatus::Unknown));
}

fn instance(row: &mut InstanceRow) {
    if row.sync() == SyncStatus::Unspecified {
        row.set_sync(SyncStatus::Unknown);
    }
    if row.health() == HealthStatus::Unspecified {
        row.set_health(HealthStatus::Unknown);
    }
    if row.reported_sync() == SyncStatus::Unspecified {
        row.reported_sync = row.sync;
    }
    if row.reported_health() == HealthStatus::Unspecified {
        row.reported_health = row.health;
    }
    if row.connection() != ConnectionStatus::Connected {
        row.set_sync(SyncStatus::Unknown);
        row.set_health(HealthStatus::Unknown);
    }
}

/// The lower, the worse.
fn sync_rank(sync: SyncStatus) -> u8 {
    match sync {
        SyncStatus::Failed => 0,
        SyncStatus::Parked => 1,
        SyncStatus::Unspecified | SyncStatus::Unknown => 2,
        SyncStatus::OutOfSync => 3,
        SyncStatus::Syncing => 4,
        SyncStatus::Synced => 5,
    }
}

fn health_rank(health: HealthStatus) -> u8 {
    match health {
        HealthStatus::Degraded => 0,
        HealthStatus::Missing => 1,
        HealthStatus::Unspecified | HealthStatus::Unknown => 2,
        HealthStatus::Progressing => 3,
        HealthStatus::Suspended => 4,
        HealthStatus::Healthy => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(
        connection: ConnectionStatus,
        sync: SyncStatus,
        health: HealthStatus,
        heard_at_ms: u64,
    ) -> InstanceRow {
        InstanceRow {
            connection: connection as i32,
            sync: sync as i32,
            health: health as i32,
            heard_at_ms,
            ..InstanceRow::default()
        }
    }

    #[test]
    fn an_app_is_as_well_as_its_worst_instance_and_silent_ones_are_unknown() {
        use ConnectionStatus::{Connected, NeverJoined, Silent};
        use HealthStatus as H;
        use SyncStatus as S;
        let well = || on(Connected, S::Synced, H::Healthy, 90);
        let cases = [
            (vec![], (S::Unknown, H::Unknown)),
            (vec![well()], (S::Synced, H::Healthy)),
            (vec![well(), on(Silent, S::Synced, H::Healthy, 10)], (S::Unknown, H::Unknown)),
            (vec![well(), on(NeverJoined, S::Unspecified, H::Unspecified, 0)], (S::Unknown, H::Unknown)),
            (vec![well(), on(Connected, S::Failed, H::Progressing, 80)], (S::Failed, H::Progressing)),
            (vec![well(), on(Silent, S::Failed, H::Degraded, 80)], (S::Unknown, H::Unknown)),
        ];
        for (instances, expected) in cases {
            let mut row = AppRow { instances, ..AppRow::default() };
            app(&mut row);
            assert_eq!((row.sync(), row.health()), expected, "{row:?}");
        }
    }

    #[test]
    fn an_app_is_as_old_as_its_oldest_news_and_keeps_what_was_said() {
        let silent = on(ConnectionStatus::Silent, SyncStatus::Synced, HealthStatus::Healthy, 10);
        let fresh = on(ConnectionStatus::Connected, SyncStatus::Synced, HealthStatus::Healthy, 90);
        let mut row = AppRow { instances: vec![fresh, silent], ..AppRow::default() };
        app(&mut row);
        assert_eq!(
            (row.heard_at_ms, row.instances_total, row.instances_healthy, row.instances_unknown),
            (10, 2, 1, 1)
        );
        let silent = row.instances.iter().find(|row| row.heard_at_ms == 10).unwrap();
        assert_eq!(
            (silent.health(), silent.reported_health()),
            (HealthStatus::Unknown, HealthStatus::Healthy)
        );
    }
}
