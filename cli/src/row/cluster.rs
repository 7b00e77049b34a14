//! A cluster as it is shown.

use std::collections::BTreeMap;

use serde::Serialize;
use taffrail_proto::v1::{ClusterRow, ConnectionStatus};

use super::{Cell, Condition, Row, conditions, connection_word, labels_text};
use crate::time;

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `Connected`, `Silent` or `NeverJoined`.
    pub connection: String,
    /// When the hub last heard from it.
    pub heard_at: Option<String>,
    /// How long ago that was.
    pub heard_ago_ms: Option<u64>,
    /// Log index of the state of this row.
    pub state_index: u64,
    /// Its identity.
    pub account: String,
    /// When it joined.
    pub joined_at: Option<String>,
    /// When its invitation ends; null once it joined.
    pub invited_until: Option<String>,
    /// Version of its agent.
    pub agent_version: String,
    /// Version of its API server.
    pub kubernetes_version: String,
    /// Newest desired index that was signed for it.
    pub generation_desired: u64,
    /// Newest that its agent took.
    pub generation_taken: u64,
    /// Instances on it.
    pub instances: u32,
    /// How many of them are synced; null if nobody knows.
    pub instances_synced: Option<u32>,
    /// How many of them are healthy; null if nobody knows.
    pub instances_healthy: Option<u32>,
    /// Events that still wait in its outbox.
    pub outbox: u64,
    /// What people should know.
    pub conditions: Vec<Condition>,
}

impl Cluster {
    /// From the wire, with ages as of `now_ms`.
    pub fn new(row: ClusterRow, now_ms: u64) -> Cluster {
        let known = row.connection() == ConnectionStatus::Connected;
        Cluster {
            connection: connection_word(row.connection),
            heard_at: time::rfc3339(row.heard_at_ms),
            heard_ago_ms: time::ago_ms(row.heard_at_ms, now_ms),
            joined_at: time::rfc3339(row.joined_at_ms),
            invited_until: time::rfc3339(row.invited_until_ms),
            instances_synced: known.then_some(row.instances_synced),
            instances_healthy: known.then_some(row.instances_healthy),
            conditions: conditions(row.conditions),
            name: row.name,
            labels: row.labels,
            state_index: row.state_index,
            account: row.account,
            agent_version: row.agent_version,
            kubernetes_version: row.kubernetes_version,
            generation_desired: row.generation_desired,
            generation_taken: row.generation_taken,
            instances: row.instances,
            outbox: row.outbox,
        }
    }

    fn share(&self, part: Option<u32>) -> Cell {
        part.map_or_else(|| Cell::state("Unknown"), |part| Cell::share(part, self.instances))
    }
}

impl Row for Cluster {
    const KIND: &'static str = "Cluster";

    fn name(&self) -> String {
        format!("cluster/{}", self.name)
    }

    fn headers(wide: bool) -> &'static [&'static str] {
        const WIDE: [&str; 10] = [
            "NAME",
            "CONNECTION",
            "SYNCED",
            "HEALTHY",
            "HEARD",
            "GENERATION",
            "OUTBOX",
            "AGENT",
            "KUBERNETES",
            "LABELS",
        ];
        if wide { &WIDE } else { &WIDE[..5] }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let mut cells = vec![
            Cell::plain(&self.name),
            Cell::state(&self.connection),
            self.share(self.instances_synced),
            self.share(self.instances_healthy),
            Cell::age(self.heard_ago_ms),
        ];
        if wide {
            cells.extend([
                Cell::plain(format!("{}/{}", self.generation_taken, self.generation_desired)),
                Cell::plain(self.outbox.to_string()),
                Cell::plain(&self.agent_version),
                Cell::plain(&self.kubernetes_version),
                Cell::plain(labels_text(&self.labels)),
            ]);
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_cluster_is_unknown_whatever_it_said_last() {
        let row = ClusterRow {
            name: "eu-1".into(),
            connection: ConnectionStatus::Silent as i32,
            instances: 3,
            instances_synced: 3,
            instances_healthy: 3,
            heard_at_ms: 1_000,
            ..ClusterRow::default()
        };
        let texts: Vec<String> =
            Cluster::new(row, 62_000).cells(false).into_iter().map(|cell| cell.text).collect();
        assert_eq!(texts, ["eu-1", "Silent", "Unknown", "Unknown", "61s ago"]);
    }
}
