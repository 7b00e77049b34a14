//! Every metric of the hub: name, help, unit, labels.

use crate::driver::Handle;
use crate::log::{Room, Syncs};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use taffrail_core::node::hub::Hub;
use taffrail_runtime::supervise::{Kind, Stage, Supervisor};
use tokio::sync::watch;

/// Pause between two counts of the fleet.
const EVERY: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Connection {
    connection: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct State {
    sync_status: &'static str,
    health_status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Needed {
    events: &'static str,
}

/// The metrics and their registry.
pub struct Metrics {
    registry: Registry,
    log_index: Gauge,
    clusters: Family<Connection, Gauge>,
    instances: Family<State, Gauge>,
    parked: Gauge,
    render_failures: Gauge,
    log_short: Gauge,
    log_syncs: Family<Needed, Counter>,
    epoch: Gauge,
    read_only: Gauge,
    unadopted: Gauge,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("taffrail_hub");
        let (log_index, parked, render_failures) = (Gauge::default(), Gauge::default(), Gauge::default());
        let (clusters, instances) = (Family::default(), Family::default());
        registry.register("log_index", "Log index of the last durable event", log_index.clone());
        registry.register("clusters", "Clusters by connection", clusters.clone());
        registry.register("instances", "Instances by sync and health status", instances.clone());
        registry.register("sources_parked", "Revisions parked because history was rewritten", parked.clone());
        registry.register("render_failures", "Variants that cannot be rendered now", render_failures.clone());
        let log_short = Gauge::default();
        let help = "Whether nothing is recorded because the disk is nearly full: 1 or 0";
        registry.register("log_short_of_room", help, log_short.clone());
        let log_syncs = Family::default();
        registry.register(
            "log_syncs",
            "Fsyncs of the log since the start, by whose events made them needed",
            log_syncs.clone(),
        );
        let (epoch, read_only, unadopted) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("epoch", "Hub epoch", epoch.clone());
        registry.register(
            "read_only",
            "1 while the log is older than what the fleet holds and the hub only reads",
            read_only.clone(),
        );
        registry.register(
            "clusters_unadopted",
            "Clusters that have not shown what they hold since the epoch began",
            unadopted.clone(),
        );
        Metrics {
            registry,
            log_index,
            clusters,
            instances,
            parked,
            render_failures,
            log_short,
            log_syncs,
            epoch,
            read_only,
            unadopted,
        }
    }

    /// Notes how often the log was synced since the start.
    pub fn synced(&self, syncs: Syncs) {
        for (events, count) in [("own", syncs.own), ("reported", syncs.reported)] {
            self.log_syncs.get_or_create(&Needed { events }).inner().store(count, Ordering::Relaxed);
        }
    }

    /// All metrics in the text format of Prometheus.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string fails only where a metric breaks the format, which a test excludes.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }

    /// Keeps the metrics up to date.
    pub fn spawn(
        self: Arc<Self>,
        supervisor: &mut Supervisor,
        handle: Handle,
        shown: watch::Receiver<u64>,
        room: watch::Receiver<Room>,
    ) {
        supervisor.spawn("metrics", Kind::Service, Stage::Work, move |stop| async move {
            loop {
                self.log_index.set(i64::try_from(*shown.borrow()).unwrap_or(i64::MAX));
                self.log_short.set(i64::from(*room.borrow() != Room::Enough));
                let metrics = self.clone();
                handle.look(move |hub, _| metrics.count(hub)).await?;
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
        });
    }

    fn count(&self, hub: &Hub) {
        let state = hub.state();
        let mut connections = BTreeMap::from([("connected", 0), ("silent", 0), ("never-joined", 0)]);
        for cluster in state.clusters.clusters.values() {
            let connection = match (&cluster.enrolment, cluster.silent_since) {
                (None, _) => "never-joined",
                (Some(_), Some(_)) => "silent",
                (Some(_), None) => "connected",
            };
            *connections.entry(connection).or_insert(0) += 1;
        }
        for (connection, count) in connections {
            self.clusters.get_or_create(&Connection { connection }).set(count);
        }
        let mut instances: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for report in state.planner.fleet.values().flat_map(|desired| desired.reports.values()) {
            let status = &report.status;
            *instances.entry((status.phase.name(), status.health.as_str())).or_insert(0) += 1;
        }
        self.instances.clear();
        for ((sync_status, health_status), count) in instances {
            self.instances.get_or_create(&State { sync_status, health_status }).set(count);
        }
        let parked = state.sources.tracks.values().filter(|track| track.parked.is_some()).count();
        self.parked.set(i64::try_from(parked).unwrap_or(i64::MAX));
        let failures = state.planner.failures.len();
        self.render_failures.set(i64::try_from(failures).unwrap_or(i64::MAX));
        self.epoch.set(i64::try_from(state.planner.epoch).unwrap_or(i64::MAX));
        self.read_only.set(i64::from(hub.read_only().is_some()));
        self.unadopted.set(i64::try_from(hub.unadopted()).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_can_be_written_and_carries_its_prefix() {
        let metrics = Metrics::new();
        metrics.count(&Hub::new(
            taffrail_core::node::hub::Durable::default(),
            taffrail_core::node::hub::Settings { lease: taffrail_core::time::Span::secs(30) },
        ));
        let text = metrics.text();
        assert!(text.contains("taffrail_hub_log_index 0"), "{text}");
        assert!(text.contains("taffrail_hub_clusters{connection=\"silent\"} 0"), "{text}");
    }
}
