//! A delivery in an app's history as it is shown.

use serde::Serialize;
use taffrail_proto::v1::HistoryRow;

use super::{Cell, Row};
use crate::time;

/// A commit of one app, and how far it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The commit.
    pub commit: String,
    /// Its subject line.
    pub subject: String,
    /// Its author.
    pub author: String,
    /// `delivered`, `under way`, `failed`, `superseded` or `parked`.
    pub outcome: String,
    /// Why it did not come through; empty if it did.
    pub message: String,
    /// When the hub saw it.
    pub seen_at: Option<String>,
    /// When it was ordered.
    pub ordered_at: Option<String>,
    /// When the last cluster had it.
    pub finished_at: Option<String>,
    /// From seen to finished; null if it is not.
    pub took_ms: Option<u64>,
    /// Clusters it was ordered for.
    pub clusters_total: u32,
    /// Of them synced.
    pub clusters_synced: u32,
    /// Of them healthy.
    pub clusters_healthy: u32,
    /// Of them failed.
    pub clusters_failed: u32,
    /// Who or what ordered it.
    pub actor: String,
    /// Log index of the event that ordered it.
    pub event_index: u64,
    #[serde(skip)]
    ordered_at_ms: u64,
}

impl From<HistoryRow> for Delivery {
    fn from(row: HistoryRow) -> Delivery {
        let began = if row.seen_at_ms == 0 { row.ordered_at_ms } else { row.seen_at_ms };
        Delivery {
            seen_at: time::rfc3339(row.seen_at_ms),
            ordered_at: time::rfc3339(row.ordered_at_ms),
            finished_at: time::rfc3339(row.finished_at_ms),
            took_ms: time::ago_ms(began, row.finished_at_ms).filter(|_| row.finished_at_ms != 0),
            ordered_at_ms: row.ordered_at_ms,
            commit: row.commit,
            subject: row.subject,
            author: row.author,
            outcome: row.outcome,
            message: row.message,
            clusters_total: row.clusters_total,
            clusters_synced: row.clusters_synced,
            clusters_healthy: row.clusters_healthy,
            clusters_failed: row.clusters_failed,
            actor: row.actor,
            event_index: row.event_index,
        }
    }
}

impl Row for Delivery {
    const KIND: &'static str = "Delivery";

    fn name(&self) -> String {
        format!("commit/{}", self.commit)
    }

    fn headers(wide: bool) -> &'static [&'static str] {
        if wide {
            &[
                "COMMIT", "OUTCOME", "HEALTHY", "ORDERED", "TOOK", "EVENT", "ACTOR", "AUTHOR", "SUBJECT",
                "MESSAGE",
            ]
        } else {
            &["COMMIT", "OUTCOME", "HEALTHY", "ORDERED", "TOOK", "SUBJECT", "MESSAGE"]
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let mut cells = vec![
            Cell::commit(&self.commit),
            Cell::state(&self.outcome),
            Cell::share(self.clusters_healthy, self.clusters_total),
            Cell::plain(time::local(self.ordered_at_ms)),
            Cell::plain(self.took_ms.map(time::short).unwrap_or_default()),
        ];
        if wide {
            cells.extend([
                Cell::plain(self.event_index.to_string()),
                Cell::plain(&self.actor),
                Cell::plain(&self.author),
            ]);
        }
        cells.push(Cell::plain(&self.subject));
        cells.push(Cell { text: self.message.clone(), ..Cell::plain("") });
        cells
    }
}
