//! What the chain and the folds of a driver are to its journal.

use crate::journal::Write;
use taffrail_core::event::AgentEvent;
use taffrail_core::outbox::Fold;
use taffrail_proto::event::{Entered, Ledger};
use taffrail_proto::journal as encoding;

/// Settings of the journal with this beginning are folds.
const FOLD: &str = "fold/";

/// What is to be written of facts that were stated, and of those that waited for room.
pub(super) fn number(ledger: &mut Ledger, events: Vec<AgentEvent>) -> Vec<Write> {
    let Entered { rows, folds } = ledger.enter(events);
    let mut writes: Vec<Write> = folds.into_iter().map(|(name, fold)| fold_write(&name, fold)).collect();
    if !rows.is_empty() {
        writes.push(Write::AppendEvents { rows, last_hash: ledger.chain.last_hash });
    }
    writes
}

/// The folds among the settings of a journal.
pub(super) fn folds<'a>(
    settings: impl Iterator<Item = (&'a String, &'a bytes::Bytes)>,
) -> Result<Vec<Fold>, taffrail_proto::error::Error> {
    let folds = settings.filter(|(name, _)| name.starts_with(FOLD));
    folds.map(|(_, bytes)| encoding::decode_fold(bytes)).collect()
}

fn fold_write(name: &str, fold: Option<Vec<u8>>) -> Write {
    let key = format!("{FOLD}{name}");
    match fold {
        Some(fold) => Write::PutSetting { key, bytes: fold.into() },
        None => Write::RemoveSetting { key },
    }
}
