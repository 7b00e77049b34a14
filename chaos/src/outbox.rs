//! An agent's outbox: events in order, again and again, until the receipt; and signs of life.

use crate::disk::Write;
use crate::plan::{Mistake, Point};
use crate::site::{SiteJob, Waiter};
use crate::world::{Happening, World};
use bytes::Bytes;
use taffrail_core::cluster::Vitals;
use taffrail_core::desired::Mark;
use taffrail_core::id::AccountKey;
use taffrail_proto::proof::signed_receipt;
use taffrail_proto::report::{Answer, Carried, EVENTS_MAX, Outgoing, encode_request, open_answer};

/// First and longest pause after a request that was not answered, as in the agent's outbox.
const PAUSE: (u64, u64) = (250, 5_000);

/// How long an answer is waited for, as in the agent's bus.
const PATIENCE: u64 = 5_000;

/// Where the sending stands.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// The last event for which a receipt is held.
    pub(crate) receipted: u64,
    state: State,
    pause: u64,
    dirty: bool,
    round: u64,
    request: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A request is out.
    Asking { id: u64, carried: Carried, held: Mark, proves: bool },
    /// A receipt is on its way to the disk.
    Forgetting { seq: u64, bytes: u64 },
    /// Nothing is to be done before the pause is over; news end it if the hub answered.
    Pausing { answered: bool },
}

impl Outbox {
    /// An outbox over a journal.
    pub(crate) fn new(receipted: u64) -> Outbox {
        let state = State::Pausing { answered: true };
        Outbox { receipted, state, pause: PAUSE.0, dirty: false, round: 0, request: 0 }
    }

    /// Whether a request is out.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Asking { .. })
    }
}

impl World {
    fn outbox(&mut self, site: usize) -> Option<&mut Outbox> {
        self.process(site).map(|process| &mut process.outbox)
    }

    /// The pause is over.
    pub(crate) fn outbox_wakes(&mut self, site: usize, round: u64) {
        if self.outbox(site).is_some_and(|outbox| outbox.round == round) {
            self.send(site);
        }
    }

    /// The driver shows something new.
    pub(crate) fn outbox_shown(&mut self, site: usize) {
        let Some(outbox) = self.outbox(site) else { return };
        outbox.dirty = true;
        if outbox.state == (State::Pausing { answered: true }) {
            outbox.round += 1;
            let round = outbox.round;
            self.site_after(site, 1, SiteJob::Round(round));
        }
    }

    /// There is something to show: at once, whether the hub answered before or not.
    pub(crate) fn outbox_proves(&mut self, site: usize) {
        let Some(outbox) = self.outbox(site) else { return };
        if matches!(outbox.state, State::Pausing { .. }) {
            outbox.round += 1;
            let round = outbox.round;
            self.site_after(site, 1, SiteJob::Round(round));
        }
    }

    /// One request.
    fn send(&mut self, site: usize) {
        let at = self.site_now(site);
        let most = self.plan.request.min(EVENTS_MAX as usize);
        let skip = self.has(Mistake::TakeGap) && self.random.per_mille(200);
        let (Some(identity), Some(journal)) = (&self.sites[site].identity, &self.sites[site].journal) else {
            return;
        };
        let Some((account, _)) = identity.member.clone() else { return };
        let (key, incarnation) = (identity.key.clone(), journal.incarnation);
        let Some(process) = &self.sites[site].process else { return };
        let (shown, from) = (process.shown, process.outbox.receipted + 1);
        let mut rows: Vec<_> = journal.outbox.range(from..).map(|(_, row)| row.clone()).take(most).collect();
        if skip && rows.len() > 1 {
            rows.remove(0);
        }
        let proof = self.proof(site, &rows);
        let proves = proof.is_some();
        if proves {
            rows.clear();
        }
        if rows.len() == most {
            self.seen.saw("a request was full");
        }
        let last = rows.last().map_or(0, |row| row.seq);
        let outgoing = Outgoing {
            account: account.clone(),
            incarnation,
            at,
            vitals: Vitals { held: shown.held, waiting: (shown.last_seq + 1).saturating_sub(from) },
            proof,
            events: rows.into_iter().map(|row| (row.header, row.payload)).collect(),
        };
        let body = Bytes::from(encode_request(&outgoing, &*key));
        let carried = Carried { incarnation, from, last };
        let Some(outbox) = self.outbox(site) else { return };
        outbox.dirty = false;
        outbox.request += 1;
        let id = outbox.request;
        outbox.state = State::Asking { id, carried, held: shown.held, proves };
        self.site_after(site, PATIENCE, SiteJob::Unanswered(id));
        self.carry(site, &account, id, &body);
        if self.site_dies(site, Point::Sent) {
            self.crash_site(site);
        }
    }

    fn carry(&mut self, site: usize, account: &AccountKey, id: u64, body: &Bytes) {
        // Answers find their way by number; those of an earlier life find nobody.
        let restored = self.hub.restored;
        for arrival in self.arrivals(site) {
            self.after(arrival, Happening::Events(restored, site, account.clone(), id, body.clone()));
        }
    }

    /// The hub answers.
    pub(crate) fn answered(&mut self, site: usize, id: u64, bytes: &Bytes) {
        let hub = self.known(self.hub.signer.public());
        let Some(account) = self.sites[site].account().cloned() else { return };
        let Some(outbox) = self.outbox(site) else { return };
        let State::Asking { id: asked, carried, held, proves } = outbox.state else { return };
        if asked != id {
            return;
        }
        if proves {
            self.proved(site);
        }
        let restored = self.hub.restored > 0;
        match open_answer(bytes, &account, &hub) {
            Ok((answer @ Answer::Receipt { .. }, mark)) => {
                let last = self.process(site).map_or(0, |process| process.shown.last_seq);
                let forked = answer.is_forked(carried.incarnation, last);
                self.check.must(!forked, || format!("agent {site} takes itself for a copy"));
                if mark < held || answer.says_less(carried) {
                    self.hub_is_behind(site);
                }
                if mark > held.max(self.pending_mark(site)) {
                    self.site_after(site, 1, SiteJob::Behind);
                }
                match answer.receipted(carried) {
                    Some(seq) => {
                        let length = self.bytes_up_to(site, seq);
                        if let Some(outbox) = self.outbox(site) {
                            outbox.state = State::Forgetting { seq, bytes: length };
                        }
                        let signed = signed_receipt(bytes).unwrap_or_default();
                        self.commit(site, vec![Write::Receipt(seq, signed.into())], Waiter::Outbox);
                    }
                    None => self.pause(site, true),
                }
            }
            Ok((Answer::Gap { incarnation, expected }, _)) => {
                let lost = incarnation == carried.incarnation && expected < carried.from;
                if expected < carried.from {
                    self.hub_is_behind(site);
                }
                self.check.must(!lost || restored, || {
                    format!("the hub misses events that were receipted: it expects {expected}")
                });
                self.pause(site, false);
            }
            Ok((Answer::Refused(_) | Answer::Forked(_), _)) => self.pause(site, false),
            Err(error) => {
                self.check.must(false, || format!("an answer of the hub cannot be read: {error}"));
            }
        }
    }

    /// Nobody answers.
    pub(crate) fn unanswered(&mut self, site: usize, id: u64) {
        let asked = self.outbox(site).map(|outbox| outbox.state);
        if let Some(State::Asking { id: asked, .. }) = asked
            && asked == id
        {
            self.pause(site, false);
        }
    }

    /// The receipt is on the disk.
    pub(crate) fn outbox_receipted(&mut self, site: usize) {
        let Some(process) = self.process(site) else { return };
        if let State::Forgetting { seq, bytes } = process.outbox.state {
            process.outbox.receipted = process.outbox.receipted.max(seq);
            process.freed += bytes;
        }
        self.pause(site, true);
        self.rearm_site(site);
    }

    /// How long the events are that a receipt lets the outbox forget.
    fn bytes_up_to(&self, site: usize, seq: u64) -> u64 {
        let rows = self.sites[site].journal.iter().flat_map(|journal| journal.outbox.range(..=seq));
        rows.map(|(_, row)| row.length()).sum()
    }

    /// After a request: at once again if there is more, else after a pause.
    fn pause(&mut self, site: usize, answered: bool) {
        let heartbeat = self.plan.heartbeat;
        let Some(process) = self.process(site) else { return };
        let more = process.shown.last_seq > process.outbox.receipted;
        let outbox = &mut process.outbox;
        outbox.round += 1;
        let round = outbox.round;
        outbox.state = State::Pausing { answered };
        let wait = match (answered, more || outbox.dirty) {
            (true, true) => 1,
            (true, false) => heartbeat,
            (false, _) => outbox.pause,
        };
        outbox.pause = if answered { PAUSE.0 } else { (outbox.pause * 2).min(PAUSE.1) };
        self.site_after(site, wait, SiteJob::Round(round));
    }

    /// Every event of this cluster has its receipt.
    pub(crate) fn outbox_is_empty(&self, site: usize) -> bool {
        let process = self.sites[site].process.as_ref();
        process.is_some_and(|process| {
            process.shown.last_seq == process.outbox.receipted && !process.outbox.is_waiting()
        })
    }
}
