//! Numbers and chains events while there is room, and keeps the folds of those that must wait.

use crate::journal::{OutboxRow, Write};
use taffrail_core::event::AgentEvent;
use taffrail_core::id::AccountKey;
use taffrail_core::outbox::{Fold, Name, Outbox};
use taffrail_proto::event::{Numbered, Numbering};
use taffrail_proto::journal as encoding;

/// Settings of the journal with this beginning are folds.
const FOLD: &str = "fold/";

/// The chain, and the room that it has.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    pub(super) chain: Numbering,
    pub(super) outbox: Outbox,
}

impl Ledger {
    /// What is to be written: first what waited and has room now, then what was stated, as far as there is room.
    pub(super) fn number(&mut self, events: Vec<AgentEvent>) -> Vec<Write> {
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
        let folds = self.outbox.changes().into_iter().map(|(of, fold)| fold_write(&of, fold, account));
        let mut writes: Vec<Write> = folds.collect();
        if !rows.is_empty() {
            writes.push(Write::AppendEvents { rows, last_hash: self.chain.last_hash });
        }
        writes
    }

    fn append(&mut self, events: Vec<AgentEvent>, rows: &mut Vec<OutboxRow>) {
        for event in events {
            let row = row(&mut self.chain, event);
            self.outbox.numbered(length(&row));
            rows.push(row);
        }
    }
}

/// Bytes of an event in the outbox.
pub(super) fn length(row: &OutboxRow) -> u64 {
    (row.header.len() + row.payload.len()) as u64
}

/// The folds among the settings of a journal.
pub(super) fn folds<'a>(
    settings: impl Iterator<Item = (&'a String, &'a bytes::Bytes)>,
) -> Result<Vec<Fold>, taffrail_proto::error::Error> {
    let folds = settings.filter(|(name, _)| name.starts_with(FOLD));
    folds.map(|(_, bytes)| encoding::decode_fold(bytes)).collect()
}

fn fold_write((app, kind): &Name, fold: Option<&Fold>, account: &AccountKey) -> Write {
    let app = app.as_ref().map(ToString::to_string).unwrap_or_default();
    let key = format!("{FOLD}{app}/{kind}");
    match fold {
        Some(fold) => Write::PutSetting { key, bytes: encoding::encode_fold(fold, account).into() },
        None => Write::RemoveSetting { key },
    }
}

/// How long an event is once it is numbered.
fn size(chain: &Numbering, event: &AgentEvent) -> u64 {
    length(&row(&mut chain.clone(), event.clone()))
}

fn row(chain: &mut Numbering, event: AgentEvent) -> OutboxRow {
    let Numbered { seq, header, payload } = chain.number(event);
    OutboxRow { seq, header, payload }
}
