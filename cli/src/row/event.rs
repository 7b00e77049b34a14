//! An event of the log as it is shown.

use serde::Serialize;
use taffrail_proto::v1::EventRow;

use super::{Cell, Row};
use crate::time;

/// A recorded fact.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its position in the log.
    pub index: u64,
    /// The hub's own time: what orders.
    pub appended_at: Option<String>,
    /// The producer's time, for show.
    pub at: Option<String>,
    /// Such as `CommitSeen`.
    pub kind: String,
    /// One sentence.
    pub summary: String,
    /// The source concerned, or empty.
    pub source: String,
    /// The cluster concerned, or empty.
    pub cluster: String,
    /// The app concerned, or empty.
    pub app: String,
    /// The commit concerned, or empty.
    pub commit: String,
    /// Who did it.
    pub actor: String,
    /// Why, in their words.
    pub reason: String,
    /// Log index of the event that caused it; zero if none.
    pub cause_index: u64,
    /// Of an agent's event: its incarnation.
    pub incarnation: u64,
    /// Of an agent's event: its number there.
    pub seq: u64,
    /// W3C trace context.
    pub traceparent: String,
    /// The payload.
    pub detail: serde_json::Value,
    #[serde(skip)]
    appended_at_ms: u64,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Event {
        Event {
            appended_at: time::rfc3339(row.appended_at_ms),
            at: time::rfc3339(row.at_ms),
            // A payload that is not JSON is still shown, as the text that it is.
            detail: match row.detail_json.as_str() {
                "" => serde_json::Value::Null,
                text => serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(text)),
            },
            appended_at_ms: row.appended_at_ms,
            index: row.index,
            kind: row.kind,
            summary: row.summary,
            source: row.source,
            cluster: row.cluster,
            app: row.app,
            commit: row.commit,
            actor: row.actor,
            reason: row.reason,
            cause_index: row.cause_index,
            incarnation: row.incarnation,
            seq: row.seq,
            traceparent: row.traceparent,
        }
    }
}

impl Row for Event {
    const KIND: &'static str = "Event";

    fn name(&self) -> String {
        format!("event/{}", self.index)
    }

    fn headers(wide: bool) -> &'static [&'static str] {
        if wide {
            &["INDEX", "TIME", "KIND", "CLUSTER", "APP", "COMMIT", "ACTOR", "CAUSE", "SUMMARY"]
        } else {
            &["INDEX", "TIME", "KIND", "CLUSTER", "APP", "SUMMARY"]
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let mut cells = vec![
            Cell::plain(self.index.to_string()),
            Cell::plain(time::local(self.appended_at_ms)),
            Cell::plain(&self.kind),
            Cell::plain(&self.cluster),
            Cell::plain(&self.app),
        ];
        if wide {
            let cause = if self.cause_index == 0 { String::new() } else { self.cause_index.to_string() };
            cells.extend([Cell::commit(&self.commit), Cell::plain(&self.actor), Cell::plain(cause)]);
        }
        cells.push(Cell { text: self.summary.clone(), ..Cell::plain("") });
        cells
    }
}
