//! Numbers and chains events while there is room, and keeps the folds of those that must wait.

use super::{Numbered, Numbering};
use crate::journal::encode_fold;
use taffrail_core::event::AgentEvent;
use taffrail_core::outbox::{Fold, Name, Outbox};

/// The chain of a journal, and the room that its outbox has.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Where the chain stands.
    pub chain: Numbering,
    /// What has room, and what waits for it.
    pub outbox: Outbox,
}

/// What a journal is to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entered {
    /// Events with their numbers, in order.
    pub rows: Vec<Numbered>,
    /// Folds that changed, by app and kind (`APP/KIND`), encoded; `None` for one that the rows tell.
    pub folds: Vec<(String, Option<Vec<u8>>)>,
}

impl Ledger {
    /// Takes facts that were stated: first what waited and has room now is numbered, then they, as far as there is room.
    pub fn enter(&mut self, events: Vec<AgentEvent>) -> Entered {
        let mut rows = Vec::new();
        loop {
            let now = self.outbox.drain(|event| size(&self.chain, event));
            if now.is_empty() {
                break;
            }
            self.append(now, &mut rows);
        }
        for event in events {
            let now = self.outbox.state(event, |event| size(&self.chain, event));
            self.append(now, &mut rows);
        }
        let account = &self.chain.account;
        let fold = |fold: &Fold| encode_fold(fold, account);
        let changes = self.outbox.changes().into_iter();
        let folds = changes.map(|(of, changed)| (text(&of), changed.map(fold))).collect();
        Entered { rows, folds }
    }

    fn append(&mut self, events: Vec<AgentEvent>, rows: &mut Vec<Numbered>) {
        for event in events {
            let row = self.chain.number(event);
            self.outbox.numbered(row.length());
            rows.push(row);
        }
    }
}

fn text((app, kind): &Name) -> String {
    let app = app.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("{app}/{kind}")
}

/// How long an event is once it is numbered.
fn size(chain: &Numbering, event: &AgentEvent) -> u64 {
    chain.clone().number(event.clone()).length()
}
