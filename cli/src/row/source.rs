//! A source as it is shown.

use serde::Serialize;
use taffrail_proto::v1::{SourceRow, SourceStatus};

use super::{Cell, Condition, Row, conditions, word};
use crate::time;

/// A repository that the hub follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Directory in it.
    pub path: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// `New`, `Followed`, `Unreachable`, `Parked` or `Invalid`.
    pub status: String,
    /// Commit of the last look that succeeded.
    pub head_commit: String,
    /// Subject line of that commit.
    pub head_subject: String,
    /// When a look last succeeded.
    pub looked_at: Option<String>,
    /// How long ago that was.
    pub looked_ago_ms: Option<u64>,
    /// Log index of the state of this row.
    pub state_index: u64,
    /// Apps that it declares.
    pub apps: u32,
    /// `none`, `password` or `token`.
    pub credential: String,
    /// What is wrong; empty if nothing is.
    pub message: String,
    /// The commit held before the history was rewritten; empty unless parked.
    pub parked_commit: String,
    /// What people should know.
    pub conditions: Vec<Condition>,
}

impl Source {
    /// From the wire, with ages as of `now_ms`.
    pub fn new(row: SourceRow, now_ms: u64) -> Source {
        let status = SourceStatus::try_from(row.status).map_or("", |status| status.as_str_name());
        Source {
            status: word(status, "SOURCE_STATUS_"),
            looked_at: time::rfc3339(row.looked_at_ms),
            looked_ago_ms: time::ago_ms(row.looked_at_ms, now_ms),
            conditions: conditions(row.conditions),
            name: row.name,
            url: row.url,
            path: row.path,
            revision: row.revision,
            head_commit: row.head_commit,
            head_subject: row.head_subject,
            state_index: row.state_index,
            apps: row.apps,
            credential: row.credential,
            message: row.message,
            parked_commit: row.parked_commit,
        }
    }
}

impl Row for Source {
    const KIND: &'static str = "Source";

    fn name(&self) -> String {
        format!("source/{}", self.name)
    }

    fn headers(wide: bool) -> &'static [&'static str] {
        if wide {
            &[
                "NAME",
                "STATUS",
                "COMMIT",
                "APPS",
                "LOOKED",
                "REVISION",
                "PATH",
                "CREDENTIAL",
                "URL",
                "SUBJECT",
                "MESSAGE",
            ]
        } else {
            &["NAME", "STATUS", "COMMIT", "APPS", "LOOKED", "URL", "MESSAGE"]
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let mut cells = vec![
            Cell::plain(&self.name),
            Cell::state(&self.status),
            Cell::commit(&self.head_commit),
            Cell::plain(self.apps.to_string()),
            Cell::age(self.looked_ago_ms),
        ];
        if wide {
            cells.extend([
                Cell::plain(&self.revision),
                Cell::plain(&self.path),
                Cell::plain(&self.credential),
            ]);
        }
        cells.push(Cell::plain(&self.url));
        if wide {
            cells.push(Cell::plain(&self.head_subject));
        }
        cells.push(Cell { text: self.message.clone(), ..Cell::plain("") });
        cells
    }
}
