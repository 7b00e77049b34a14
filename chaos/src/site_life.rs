//! An agent's process begins and ends.

use crate::axis::Axis;
use crate::disk::Journal;
use crate::outbox::Outbox;
use crate::plan::{Fault, Mistake};
use crate::site::{Process, Shown, SiteJob};
use crate::world::{Happening, World};
use std::collections::{BTreeMap, VecDeque};
use taffrail_core::desired::{Mark, Permit};
use taffrail_core::digest::Digest;
use taffrail_core::event::agent::{Journal as JournalState, LostEvents};
use taffrail_core::id::{AccountKey, AppId, ClusterName};
use taffrail_core::node::agent::{Agent, Held, Input, Stored};
use taffrail_core::outbox::{Fold, Outbox as Room};
use taffrail_core::proof::Reasons;
use taffrail_core::sync::Limits;
use taffrail_core::time::{At, Span};
use taffrail_proto::event::{Ledger, Numbered, Numbering};
use taffrail_proto::index;
use taffrail_proto::journal as encoding;

impl World {
    /// The agent starts, or goes on trying to get in.
    pub(crate) fn boot_site(&mut self, site: usize) {
        let Some(identity) = self.sites[site].identity.clone() else { return };
        if self.sites[site].process.is_some() {
            return;
        }
        let Some((account, cluster)) = identity.member.clone() else {
            return self.try_to_join(site, &identity);
        };
        if self.strikes(Fault::ApiErrors, 200) {
            return self.after(2_000, Happening::BootSite(site));
        }
        let unwritten = self.strikes(Fault::ApiErrors, 200);
        let at = &mut self.sites[site];
        let (floor, incarnation) = at.mirrored(&account);
        let journal = at.journal.get_or_insert_with(|| Journal::new(incarnation + 1)).clone();
        let state = match (journal.next_seq, journal.incarnation) {
            (2.., _) => JournalState::Found,
            (_, 1) => JournalState::New,
            (..) => JournalState::Lost(LostEvents::Unknown),
        };
        // As in the agent's start: nothing is numbered before the cluster knows the number of the journal.
        let claimed = incarnation == journal.incarnation;
        if !claimed && unwritten {
            return self.after(2_000, Happening::BootSite(site));
        }
        if journal.next_seq == 1 && self.hub.restored > 0 {
            self.check.forgot(&account, floor);
        }
        let at = &mut self.sites[site];
        if !claimed {
            at.api.mark = Some((account.clone(), floor, journal.incarnation));
        }
        at.life += 1;
        let wall = At(self.now.saturating_add_signed(self.sites[site].skew));
        let axis = Axis::begin(self.now, wall, At(0));
        let process = self.new_process(&journal, account, cluster, floor, axis);
        self.sites[site].process = Some(process);
        self.say(|| format!("agent {site} starts, journal {state:?}, incarnation {}", journal.incarnation));
        let started = Input::Started { version: "1".into(), kubernetes: "1.35".into(), journal: state };
        self.post_site(site, started);
        self.site_after(site, 1, SiteJob::Look(0));
        self.site_after(site, 1, SiteJob::Mirror);
        self.site_after(site, 2, SiteJob::Round(0));
    }

    fn new_process(
        &mut self,
        journal: &Journal,
        account: AccountKey,
        cluster: ClusterName,
        floor: Mark,
        axis: Axis,
    ) -> Process {
        let hub = self.known(self.hub.signer.public());
        let verified =
            journal.index.as_ref().and_then(|bytes| index::verify(bytes.to_vec(), &hub, &account).ok());
        let held = match &verified {
            Some(found) => {
                Held { index: Some(found.index.clone()), mark: found.index.mark, digest: Some(found.digest) }
            }
            None => Held { index: None, mark: floor, digest: None },
        };
        let pending = self.pending(journal, &account);
        let stored = stored(journal);
        self.check.must(stored.is_some(), || "an instance of the journal cannot be read".into());
        let stored = stored.unwrap_or_default();
        let limits =
            Limits { in_flight: self.plan.in_flight, health_timeout: Span(self.plan.health_timeout) };
        let again = self.has(Mistake::NumberAgain);
        let next_seq = if again { 1 } else { journal.next_seq };
        let last_hash = if again { Digest::default() } else { journal.last_hash };
        let chain = Numbering { account, cluster, incarnation: journal.incarnation, next_seq, last_hash };
        let used = journal.outbox.values().map(Numbered::length).sum();
        let folds = folds(journal);
        self.check.must(folds.is_some(), || "a fold of the journal cannot be read".into());
        let folds = folds.unwrap_or_default();
        let shown = Shown { last_seq: journal.next_seq - 1, held: held.mark };
        Process {
            agent: Agent::new(held, stored, limits).resuming(pending, None),
            axis,
            queue: VecDeque::new(),
            turning: false,
            committing: false,
            held_back: Vec::new(),
            syncing: VecDeque::new(),
            synced_at: self.now,
            ledger: Ledger { chain, outbox: Room::new(self.plan.room, used, folds) },
            freed: 0,
            bundles: journal.bundles.keys().copied().collect(),
            keys: verified.map(|found| found.keys).unwrap_or_default(),
            wake: 0,
            acts: 0,
            last_index: None,
            look: 0,
            mirrored: None,
            shown,
            outbox: Outbox::new(journal.receipted),
            reasons: Reasons::default(),
            asks: 0,
            proves: false,
            watches: BTreeMap::new(),
            next_watch: 0,
        }
    }

    /// The index of a restored hub that waits for the adoption, if the journal holds one.
    fn pending(&self, journal: &Journal, account: &AccountKey) -> Option<Held> {
        let (hub, offline) = (self.known(self.hub.signer.public()), self.known(self.hub.offline.public()));
        let found = index::verify(journal.pending.as_ref()?.to_vec(), &hub, account).ok()?;
        let waits = found.permit(Some(&offline), &hub.key) == Permit::Restore;
        let (mark, digest) = (found.index.mark, Some(found.digest));
        waits.then_some(Held { mark, digest, index: Some(found.index) })
    }

    /// The process dies; what is on its way to the disk may get there or not.
    pub(crate) fn crash_site(&mut self, site: usize) {
        let Some(process) = self.sites[site].process.take() else { return };
        self.say(|| format!("agent {site} dies"));
        let waiting = self.sites[site].journal.as_ref().map_or(0, |journal| journal.waiting.len());
        if waiting > 0 {
            self.seen.saw("an agent died with a transaction not durable");
        }
        if process.acts > 0 {
            self.seen.saw("an agent died between two acts");
        }
        if process.outbox.is_waiting() {
            self.seen.saw("an agent died with a request out");
        }
        let kept = self.random.place(waiting + 1);
        for _ in 0..kept {
            self.journal_synced(site);
        }
        if let Some(journal) = &mut self.sites[site].journal {
            journal.waiting.clear();
        }
        self.sites[site].died_at = self.now;
        let pause = self.random.between(500, 6_000);
        self.after(pause, Happening::BootSite(site));
    }

    /// The process dies and its disk is gone.
    pub(crate) fn lose_journal(&mut self, site: usize) {
        self.crash_site(site);
        if self.sites[site].journal.take().is_some() {
            self.seen.saw("a journal was lost");
            // What left Git while nobody remembered it stays: inventories in the cluster are not read back.
            self.sites[site].api.objects.values_mut().for_each(|live| live.excused = true);
        }
    }
}

/// The instances of the journal, each object from its own row, as the agent's start reads them.
fn stored(journal: &Journal) -> Option<BTreeMap<AppId, Stored>> {
    let read = |(app, bytes): (&String, &bytes::Bytes)| {
        let mut stored = encoding::decode(bytes).ok()?;
        for bytes in journal.items.get(app).into_iter().flat_map(BTreeMap::values) {
            let (key, item) = encoding::decode_item(bytes).ok()?;
            stored.items.insert(key, item);
        }
        Some((AppId::parse(app).ok()?, stored))
    };
    journal.instances.iter().map(read).collect()
}

fn folds(journal: &Journal) -> Option<Vec<Fold>> {
    journal.folds.values().map(|bytes| encoding::decode_fold(bytes).ok()).collect()
}
