//! What an agent shows to the hub of its own earlier words, as `agent/src/driver/prove.rs` decides it.

use crate::world::World;
use taffrail_core::cluster::Chain;
use taffrail_core::desired::Mark;
use taffrail_proto::event::{Numbered, decode_header};
use taffrail_proto::proof::Shown;

/// Shortest pause between two proofs for the same reason, in milliseconds.
const PROOF_EVERY: u64 = 10_000;

/// When a request carries a proof.
#[derive(Debug, Default)]
pub(crate) struct Prover {
    asked: u64,
    answered: u64,
    behind: bool,
    last: Option<u64>,
}

impl World {
    /// The mark of the index that waits for the adoption, or zero.
    pub(crate) fn pending_mark(&mut self, site: usize) -> Mark {
        let waiting = self.process(site).and_then(|process| process.agent.waiting().map(|held| held.mark));
        waiting.unwrap_or_default()
    }

    /// What was decided is durable; if it asks for a proof, one is due.
    pub(crate) fn show_proof(&mut self, site: usize) {
        let Some(process) = self.process(site) else { return };
        if std::mem::take(&mut process.proves) {
            process.prover.asked += 1;
            self.outbox_proves(site);
        }
    }

    /// The hub says less than it signed.
    pub(crate) fn hub_is_behind(&mut self, site: usize) {
        if let Some(process) = self.process(site) {
            process.prover.behind = true;
        }
    }

    /// The hub has the proof.
    pub(crate) fn proved(&mut self, site: usize) {
        let now = self.now;
        if let Some(process) = self.process(site) {
            let asked = process.prover.asked;
            process.prover = Prover { asked, answered: asked, behind: false, last: Some(now) };
        }
    }

    /// The proof that the next request carries, if one is due. `rows` follow the last event with a receipt.
    pub(crate) fn proof(&mut self, site: usize, rows: &[Numbered]) -> Option<Shown> {
        let (now, pending) = (self.now, self.pending_mark(site));
        let journal = self.sites[site].journal.as_ref()?;
        let process = self.sites[site].process.as_ref()?;
        let Prover { asked, answered, behind, last } = process.prover;
        let again = last.is_none_or(|last| now - last >= PROOF_EVERY);
        let reason = pending != Mark::default() || behind;
        if asked == answered && !(reason && again) {
            return None;
        }
        let receipted = process.outbox.receipted;
        let hash = match rows.first() {
            Some(row) => decode_header(&row.header).ok()?.place?.previous,
            None if process.shown.last_seq == receipted => journal.last_hash,
            // The driver is about to show a newer one.
            None => return None,
        };
        Some(Shown {
            pending,
            index: journal.index.as_ref().map(|bytes| bytes.to_vec()),
            receipt: journal.receipt.as_ref().map(|bytes| bytes.to_vec()),
            chain: Chain { incarnation: journal.incarnation, seq: receipted, hash },
        })
    }
}
