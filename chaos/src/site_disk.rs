//! An agent's transactions: on their way to its disk, and what the judge hears once they are there.

use crate::api::Live;
use crate::disk::Write;
use crate::plan::Mistake;
use crate::site::{Process, SiteJob, Waiter};
use crate::world::World;
use taffrail_core::event::AgentEvent;
use taffrail_core::outbox;
use taffrail_proto::event::Entered;
use taffrail_proto::journal as encoding;

impl World {
    /// Begins a transaction of the journal.
    pub(crate) fn commit(&mut self, site: usize, mut writes: Vec<Write>, waiter: Waiter) {
        let (pause, now) = (self.fsync(), self.now);
        if self.has(Mistake::ForgetFold) {
            writes.retain(|write| !matches!(write, Write::Folds(_)));
        }
        let at = &mut self.sites[site];
        let (Some(journal), Some(process)) = (&mut at.journal, &mut at.process) else { return };
        journal.waiting.push_back(writes);
        process.syncing.push_back(waiter);
        process.synced_at = process.synced_at.max(now) + pause;
        let wait = process.synced_at - now;
        self.site_after(site, wait, SiteJob::Synced);
    }

    /// The oldest transaction is on the disk, and the judge hears of it.
    pub(crate) fn journal_synced(&mut self, site: usize) {
        let Some(account) = self.sites[site].account().cloned() else { return };
        let forget_row = self.has(Mistake::ForgetRow) && self.random.per_mille(100);
        let Some(journal) = &mut self.sites[site].journal else { return };
        let (incarnation, writes) = (journal.incarnation, journal.synced());
        if forget_row && let Some(row) = journal.outbox.keys().next_back().copied() {
            journal.outbox.remove(&row);
        }
        for write in writes {
            match write {
                Write::Gone(app) => {
                    let objects = self.sites[site].api.objects.values_mut();
                    objects.filter(|live| is_of(live, &app)).for_each(|live| live.excused = true);
                }
                Write::Item(app, _, Some(row)) => self.keeps(site, &app, &row),
                Write::Folds(folds) => self.saw_folds(&folds),
                Write::Stated(facts) => self.check.stated(&account, incarnation, facts),
                Write::Rows(rows, _) => self.check.numbered(&account, incarnation, &rows),
                Write::Receipt(seq, _) => self.check.receipted(&account, incarnation, seq),
                Write::Index(_, index) => self.check.took(&account, *index),
                _ => {}
            }
        }
    }

    fn saw_folds(&mut self, folds: &[(String, Option<Vec<u8>>)]) {
        for (_, fold) in folds {
            let waits = fold.is_some();
            self.seen.saw(if waits {
                "a fact found no room in an outbox"
            } else {
                "a fact that had found no room was told"
            });
        }
    }

    /// Git asks for an object to be kept: that counts from here on, though the cluster may never hear of it.
    fn keeps(&mut self, site: usize, app: &str, row: &[u8]) {
        let Ok((key, item)) = encoding::decode_item(row) else { return };
        let live = self.sites[site].api.objects.get_mut(&key);
        if let Some(live) = live.filter(|live| item.keep && is_of(live, app)) {
            live.excused = true;
        }
    }
}

impl Process {
    /// What is to be written of facts that were stated, and of those that waited for room.
    pub(crate) fn enter(&mut self, facts: Vec<AgentEvent>) -> Vec<Write> {
        self.ledger.outbox.freed(std::mem::take(&mut self.freed));
        let stated: Vec<_> = facts.iter().map(outbox::name).collect();
        let Entered { rows, folds } = self.ledger.enter(facts);
        let mut writes = Vec::new();
        if !stated.is_empty() {
            writes.push(Write::Stated(stated));
        }
        if !folds.is_empty() {
            writes.push(Write::Folds(folds));
        }
        if !rows.is_empty() {
            writes.push(Write::Rows(rows, self.ledger.chain.last_hash));
        }
        writes
    }

    /// Receipts made room for what waits.
    pub(crate) fn has_room(&self) -> bool {
        self.freed > 0 && self.ledger.outbox.waits()
    }
}

fn is_of(live: &Live, app: &str) -> bool {
    live.applied_by.as_ref().is_some_and(|of| of.to_string() == app)
}
