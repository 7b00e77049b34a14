//! A hub that only reads, and why.

use super::command::Rejected;
use super::input::{Input, Reply};
use super::step::Hub;
use crate::epoch::Behind;
use crate::time::At;
use alloc::string::{String, ToString};
use core::fmt;

/// An event that a newer version wrote and that must not be skipped: the state ends before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newer {
    /// Its log index.
    pub index: u64,
    /// Its kind.
    pub kind: String,
}

/// Why a hub only reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOnly<'a> {
    /// Its log is older than what its fleet holds. It ends by a new epoch.
    Behind(&'a Behind),
    /// A newer version wrote its log. It ends by starting that version.
    Newer(&'a Newer),
}

impl fmt::Display for Newer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Newer { index, kind } = self;
        write!(out, "event {index} is of kind {kind}, which this version does not know and must not skip")
    }
}

impl fmt::Display for ReadOnly<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadOnly::Behind(behind) => behind.fmt(out),
            ReadOnly::Newer(newer) => newer.fmt(out),
        }
    }
}

impl Hub {
    /// The same hub over a log that goes on with what this version does not know.
    #[must_use]
    pub fn before(self, newer: Option<Newer>) -> Hub {
        Hub { newer, ..self }
    }

    /// Why the hub only reads; `None` while it serves.
    pub fn read_only(&self) -> Option<ReadOnly<'_>> {
        let behind = self.durable.epochs.behind.as_ref().map(ReadOnly::Behind);
        self.newer.as_ref().map(ReadOnly::Newer).or(behind)
    }

    /// Takes an input of a hub that only reads: whoever asks is refused, agents keep their events, and nothing is recorded.
    pub(super) fn refuse(&mut self, input: Input, at: At) {
        let Some(why) = self.read_only() else { return };
        let (reason, rejected) = match why {
            ReadOnly::Behind(behind) => (
                alloc::format!("the hub is read-only, its log is too old: {behind}"),
                Rejected::ReadOnly { why: behind.to_string() },
            ),
            ReadOnly::Newer(newer) => (
                alloc::format!("the hub is read-only, a newer version wrote its log: {newer}"),
                Rejected::TooNew { why: newer.to_string() },
            ),
        };
        let (token, reply) = match input {
            Input::Ordered { token, .. } => (token, Reply::Rejected(rejected)),
            Input::Joining { token, .. } | Input::Forged { token, .. } => (token, Reply::Refused { reason }),
            Input::Batched { token, account, batch, .. } => {
                if let Some(name) = self.durable.clusters.accounts.get(&account).cloned() {
                    self.heard.insert(name.clone(), at);
                    self.vitals.insert(name, batch.vitals);
                }
                (token, Reply::Refused { reason })
            }
            _ => return,
        };
        self.out.replies.push((token, reply));
    }
}
