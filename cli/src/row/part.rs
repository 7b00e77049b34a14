//! A part of the hub as `check` shows it.

use serde::Serialize;
use taffrail_proto::v1::{self as wire, PartStatus};

use super::{Cell, Row, word};
use crate::time;

/// A part of the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Such as `log`, `nats`, `git`.
    pub name: String,
    /// `Ok`, `Warning`, `Failed` or `Unknown`.
    pub status: String,
    /// One sentence.
    pub message: String,
    /// Why; empty if all is well.
    pub cause: String,
    /// The next command to type; empty if all is well.
    pub next: String,
    /// When it was looked at.
    pub looked_at: Option<String>,
    /// How long ago that was.
    pub looked_ago_ms: Option<u64>,
}

impl Part {
    /// From the wire, with ages as of `now_ms`.
    pub fn new(row: wire::Part, now_ms: u64) -> Part {
        let status = PartStatus::try_from(row.status).map_or("", |status| status.as_str_name());
        Part {
            status: word(status, "PART_STATUS_"),
            looked_at: time::rfc3339(row.looked_at_ms),
            looked_ago_ms: time::ago_ms(row.looked_at_ms, now_ms),
            name: row.name,
            message: row.message,
            cause: row.cause,
            next: row.next,
        }
    }

    /// Whether it does its work; what could not be looked at does not count as working.
    pub fn works(&self) -> bool {
        self.status == "Ok" || self.status == "Warning"
    }
}

impl Row for Part {
    const KIND: &'static str = "Part";

    fn name(&self) -> String {
        format!("part/{}", self.name)
    }

    fn headers(_wide: bool) -> &'static [&'static str] {
        &["PART", "STATUS", "LOOKED", "MESSAGE"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let mut state = Cell::state(&self.status);
        if self.status == "Unknown" {
            state.tone = super::Tone::Bad;
        }
        vec![Cell::plain(&self.name), state, Cell::age(self.looked_ago_ms), Cell::plain(&self.message)]
    }
}
