//! What an agent shows to the hub of its own earlier words, put together as in `agent/src/driver/prove.rs`.

use crate::world::World;
use taffrail_core::cluster::Chain;
use taffrail_core::desired::Mark;
use taffrail_core::time::At;
use taffrail_proto::event::{Numbered, decode_header};
use taffrail_proto::proof::Shown;

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
            process.asks += 1;
            process.reasons.asked(process.asks);
            self.outbox_proves(site);
        }
    }

    /// The hub says less than it signed.
    pub(crate) fn hub_is_behind(&mut self, site: usize) {
        if let Some(process) = self.process(site) {
            process.reasons.hub_is_behind();
        }
    }

    /// The hub has the proof.
    pub(crate) fn proved(&mut self, site: usize) {
        let now = At(self.now);
        if let Some(process) = self.process(site) {
            process.reasons.heard(now);
        }
    }

    /// The proof that the next request carries, if one is due. `rows` follow the last event with a receipt.
    pub(crate) fn proof(&mut self, site: usize, rows: &[Numbered]) -> Option<Shown> {
        let (now, pending) = (At(self.now), self.pending_mark(site));
        let place = &mut self.sites[site];
        let (journal, process) = (place.journal.as_ref()?, place.process.as_mut()?);
        if !process.reasons.is_due(pending != Mark::default(), now) {
            return None;
        }
        let receipted = process.outbox.receipted;
        let hash = match rows.first() {
            Some(row) => decode_header(&row.header).ok()?.place?.previous,
            None if process.shown.last_seq == receipted => journal.last_hash,
            // The driver is about to show a newer one.
            None => return None,
        };
        process.reasons.carried();
        Some(Shown {
            pending,
            index: journal.index.as_ref().map(|bytes| bytes.to_vec()),
            receipt: journal.receipt.as_ref().map(|bytes| bytes.to_vec()),
            chain: Chain { incarnation: journal.incarnation, seq: receipted, hash },
        })
    }
}
