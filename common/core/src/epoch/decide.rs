//! When a log is too old, what a new epoch needs, and what is taken over from a cluster.

use super::state::{Evidence, Grant, State};
use crate::cluster::{Chain, Number, Proof};
use crate::desired::{Change, Index, Mark};
use crate::event::HubFact;
use alloc::string::String;
use alloc::vec::Vec;

/// Why a new epoch is not begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It is not above every epoch that is known.
    #[error("epoch {epoch} is not above epoch {highest}, which is known already")]
    NotAbove {
        /// The epoch of the grant.
        epoch: u64,
        /// The highest one that is known.
        highest: u64,
    },
}

/// The highest epoch that the log knows of: its own, or one that showed it to be too old.
pub fn highest(state: &State, epoch: u64) -> u64 {
    let shown = state.behind.as_ref().map(|behind| match behind.evidence {
        Evidence::EpochFile { found, .. } => found,
        Evidence::Bus { found, .. } | Evidence::Index { found, .. } => found.epoch,
        Evidence::Receipt { .. } => 0,
    });
    epoch.max(shown.unwrap_or(0))
}

/// Begins the epoch of a grant. Its signature was checked at the edge.
///
/// # Errors
/// [`Rejected`] with the reason.
pub fn raise(state: &State, epoch: u64, grant: &Grant) -> Result<HubFact, Rejected> {
    let highest = highest(state, epoch);
    if grant.epoch <= highest {
        return Err(Rejected::NotAbove { epoch: grant.epoch, highest });
    }
    Ok(HubFact::EpochRaised { grant: grant.clone() })
}

/// Whether the epoch file, written whenever the epoch rises, says more than the log.
pub fn older_than_file(known: u64, file: u64) -> Option<Evidence> {
    (file > known).then_some(Evidence::EpochFile { found: file, known })
}

/// Whether what an agent shows of this hub's own earlier words says more than the log. `mark` is the index of its cluster,
/// `chain` the end of its events; a cluster that waits for its adoption (`adopted` is false) has more, and that is known.
pub fn behind(proof: &Proof, mark: Mark, chain: &Chain, adopted: bool) -> Option<Evidence> {
    let found = proof.index.as_ref().map(|index| index.mark).filter(|found| *found > mark);
    if let Some(found) = found {
        return Some(Evidence::Index { found, known: mark });
    }
    let (found, known) = (proof.receipt.filter(|_| adopted)?, chain.number());
    (found > known).then_some(Evidence::Receipt { found, known })
}

/// The events of a cluster that had receipts and that the log does not have: first and last. The agent has dropped them.
pub fn lost(known: &Chain, receipted: &Chain) -> Option<(Number, Number)> {
    let (known, last) = (known.number(), receipted.number());
    let first = Number { incarnation: known.incarnation.max(1), seq: known.seq + 1 };
    (last > known && last.seq > 0).then_some((first, last))
}

/// What changes in the index that the log knows, so that it says what the cluster holds. An agent that holds no index (its
/// journal was lost) changes nothing.
pub fn adoption(held: Option<&Index>, known: &Index) -> Vec<Change> {
    let Some(held) = held else { return Vec::new() };
    let changed = held.entries.iter().filter(|(app, entry)| known.entries.get(*app) != Some(*entry));
    let taken = changed.map(|(app, entry)| Change {
        app: app.clone(),
        entry: Some(entry.clone()),
        reason: String::from("the cluster holds it"),
    });
    let gone = known.entries.keys().filter(|app| !held.entries.contains_key(*app));
    let dropped = gone.map(|app| Change {
        app: app.clone(),
        entry: None,
        reason: String::from("the cluster holds it no more"),
    });
    taken.chain(dropped).collect()
}
