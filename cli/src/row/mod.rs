//! The documented shape of what is shown: JSON field names are a promise, and each row knows its table columns.
//!
//! Times are RFC 3339 in UTC, null for "never"; ages are milliseconds on the hub's clock. States are words such
//! as `OutOfSync`. Whatever a hub says of a cluster that it does not hear is `Unknown` here.

pub mod app;
pub mod cluster;
pub mod delivery;
pub mod event;
pub mod part;
pub mod source;

use serde::Serialize;
use taffrail_proto::v1::{ConnectionStatus, HealthStatus, SyncStatus, View};

use crate::time;

/// How a cell is painted on a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// On its way, or in doubt.
    Warn,
    /// As it should not be.
    Bad,
    /// Less important; not a reason to show a row again either, since it holds an age.
    Age,
}

/// One cell of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// How it is painted.
    pub tone: Tone,
}

impl Cell {
    /// Text as it is; `-` for none.
    pub fn plain(text: impl Into<String>) -> Cell {
        Cell { text: some_or_dash(text.into()), tone: Tone::Plain }
    }

    /// A number that should be all of another, as `3/5`.
    pub fn share(part: u32, whole: u32) -> Cell {
        let tone = if part == whole { Tone::Good } else { Tone::Warn };
        Cell { text: format!("{part}/{whole}"), tone }
    }

    /// A state in its colour.
    pub fn state(word: &str) -> Cell {
        let tone = match word {
            "Connected" | "Synced" | "Healthy" | "Followed" | "Ok" | "delivered" => Tone::Good,
            "Failed" | "Degraded" | "Missing" | "Silent" | "Unreachable" | "Invalid" | "failed" => Tone::Bad,
            _ => Tone::Warn,
        };
        Cell { text: some_or_dash(word.to_owned()), tone }
    }

    /// How long ago something was heard.
    pub fn age(age_ms: Option<u64>) -> Cell {
        Cell { text: time::ago(age_ms), tone: Tone::Age }
    }

    /// A commit or digest, short.
    pub fn commit(commit: &str) -> Cell {
        Cell::plain(short_commit(commit))
    }
}

/// What a list shows.
pub trait Row: Serialize {
    /// Its kind in JSON, such as `Cluster`.
    const KIND: &'static str;
    /// What `-o name` prints.
    fn name(&self) -> String;
    /// Column heads.
    fn headers(wide: bool) -> &'static [&'static str];
    /// As many cells as there are column heads.
    fn cells(&self, wide: bool) -> Vec<Cell>;
}

/// As of when a list holds, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AsOf {
    /// Log index of the state that was read.
    pub state_index: u64,
    /// When the event at that index was appended.
    pub state_at: Option<String>,
    /// The hub's clock when it answered.
    pub now: Option<String>,
}

impl From<&View> for AsOf {
    fn from(view: &View) -> AsOf {
        AsOf {
            state_index: view.state_index,
            state_at: time::rfc3339(view.as_of_ms),
            now: time::rfc3339(view.now_ms),
        }
    }
}

/// Something worth knowing about a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Short name, such as `JournalLost`.
    pub kind: String,
    /// One sentence.
    pub message: String,
    /// Since when.
    pub since: Option<String>,
    /// Log index of the event that began it; zero if none.
    pub event_index: u64,
}

impl From<taffrail_proto::v1::Condition> for Condition {
    fn from(row: taffrail_proto::v1::Condition) -> Condition {
        Condition {
            kind: row.kind,
            message: row.message,
            since: time::rfc3339(row.since_ms),
            event_index: row.event_index,
        }
    }
}

/// All conditions of a row.
pub fn conditions(rows: Vec<taffrail_proto::v1::Condition>) -> Vec<Condition> {
    rows.into_iter().map(Condition::from).collect()
}

/// `OutOfSync` from the number on the wire; `Unknown` for one that this version does not know.
pub fn sync_word(number: i32) -> String {
    word(SyncStatus::try_from(number).map_or("", |status| status.as_str_name()), "SYNC_STATUS_")
}

/// `Healthy` from the number on the wire; `Unknown` for one that this version does not know.
pub fn health_word(number: i32) -> String {
    word(HealthStatus::try_from(number).map_or("", |status| status.as_str_name()), "HEALTH_STATUS_")
}

/// `Connected` from the number on the wire; `Unknown` for one that this version does not know.
pub fn connection_word(number: i32) -> String {
    word(ConnectionStatus::try_from(number).map_or("", |status| status.as_str_name()), "CONNECTION_STATUS_")
}

/// `OutOfSync` from `SYNC_STATUS_OUT_OF_SYNC`.
pub fn word(name: &str, prefix: &str) -> String {
    let rest = name.strip_prefix(prefix).unwrap_or_default();
    if rest.is_empty() || rest == "UNSPECIFIED" {
        return "Unknown".to_owned();
    }
    rest.split('_').map(capitalised).collect()
}

/// The first 10 characters of a commit or digest.
pub fn short_commit(commit: &str) -> String {
    commit.chars().take(10).collect()
}

/// `a=b,c=d`.
pub fn labels_text(labels: &std::collections::BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<String>>().join(",")
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().chain(letters.map(|letter| letter.to_ascii_lowercase())).collect()
}

fn some_or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_words_and_what_is_not_known_is_unknown() {
        assert_eq!(sync_word(SyncStatus::OutOfSync as i32), "OutOfSync");
        assert_eq!(health_word(HealthStatus::Healthy as i32), "Healthy");
        assert_eq!(connection_word(ConnectionStatus::NeverJoined as i32), "NeverJoined");
        assert_eq!((sync_word(0), sync_word(99)), ("Unknown".to_owned(), "Unknown".to_owned()));
    }
}
