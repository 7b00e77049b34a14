//! Events on their way to the hub: in order, again and again, until the receipt.

use super::RECEIPT;
use super::looping::Shown;
use super::prove::Prover;
use crate::bus::Bus;
use crate::identity::{Keys, Member};
use crate::journal::{self, FORKED, Journal, Write};
use crate::park::Park;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use taffrail_core::cluster::Vitals;
use taffrail_core::desired::Mark;
use taffrail_core::time::At;
use taffrail_proto::event::{Numbered, decode_header};
use taffrail_proto::journal::Parked;
use taffrail_proto::proof::Shown as Proof;
use taffrail_proto::proof::signed_receipt;
use taffrail_proto::report::{Answer, BYTES_MAX, Carried, EVENTS_MAX, Outgoing, encode_request, open_answer};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Pause after a request that was not answered; doubles up to [`PAUSE_MAX`].
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(250);

/// Longest pause between requests that are not answered: after a long cut the outbox moves within so much.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What one request carries.
pub(super) struct Asked {
    pub(super) incarnation: u64,
    pub(super) vitals: Vitals,
    pub(super) events: Vec<(Bytes, Bytes)>,
    pub(super) proof: Option<Proof>,
}

/// An answer that can be used.
pub(super) struct Told {
    pub(super) answer: Answer,
    /// The index that the hub has for us.
    pub(super) mark: Mark,
    /// The receipt as the hub signed it; empty if it is none.
    pub(super) signed: Bytes,
}

/// How far the outbox has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The last event for which a receipt is held.
    pub receipted: u64,
    /// Whether the last request was answered.
    pub connected: bool,
    /// Bytes of the outbox that receipts freed since the start.
    pub freed: u64,
}

/// Sends the outbox and, when there is nothing to send, signs of life.
pub struct Outbox {
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The agent's keys.
    pub keys: Arc<Keys>,
    /// The credentials.
    pub member: watch::Receiver<Arc<Member>>,
    /// Incarnation of the journal.
    pub incarnation: u64,
    /// Pause between signs of life.
    pub heartbeat: Duration,
    /// What the driver shows.
    pub shown: watch::Receiver<Shown>,
    /// Told when the hub says that a newer index is out.
    pub behind: Arc<Notify>,
    /// Set once the hub says that the cluster is of the fleet no more.
    pub removed: CancellationToken,
    /// Shows how far it has come.
    pub sent: watch::Sender<Sent>,
    /// What the hub may have to be shown.
    pub prover: Prover,
    /// What an earlier end left in the cluster: sent before anything else.
    pub parked: Option<Parked>,
    /// Where that was, and where goes what this end leaves.
    pub park: Arc<dyn Park>,
}

impl Outbox {
    /// Sends until `stop`; then once more what is left, if the hub answers. What remains is parked. Nothing is sent once the
    /// cluster is removed: what was numbered and has no receipt stays in the journal.
    ///
    /// # Errors
    /// The journal's error, after which the process must end.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), journal::Error> {
        self.send_parked(&stop).await;
        if self.parked.as_ref().is_none_or(|parked| parked.chains.is_empty()) {
            self.send_all(&stop).await?;
        }
        if self.removed.is_cancelled() {
            stop.cancelled().await;
            return Ok(());
        }
        self.park_rest().await
    }

    async fn send_all(&mut self, stop: &CancellationToken) -> Result<(), journal::Error> {
        let mut pause = PAUSE_MIN;
        // What the journal holds now may have been sent by an earlier process.
        let mut numbered = self.shown.borrow().last_seq;
        loop {
            if self.removed.is_cancelled() {
                return Ok(());
            }
            self.clear_parked().await;
            let answered = self.round(&mut numbered).await?;
            self.sent.send_if_modified(|sent| {
                let differs = sent.connected != answered;
                sent.connected = answered;
                differs
            });
            let more = self.shown.borrow().last_seq > self.sent.borrow().receipted;
            if answered && more {
                pause = PAUSE_MIN;
                if stop.is_cancelled() {
                    continue;
                }
                tokio::task::yield_now().await;
                continue;
            }
            if stop.is_cancelled() {
                return Ok(());
            }
            let wait = if answered { self.heartbeat } else { pause };
            pause = if answered { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = self.shown.changed(), if answered => if changed.is_err() { return Ok(()) },
                // An index came: the hub is there, whether it answered before or not.
                Ok(()) = self.prover.changed() => {}
                () = self.removed.cancelled() => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// One request and its answer; whether there was one. `numbered` is the highest number that the hub may have from here.
    async fn round(&mut self, numbered: &mut u64) -> Result<bool, journal::Error> {
        let from = self.sent.borrow().receipted + 1;
        let Shown { held, last_seq, .. } = *self.shown.borrow_and_update();
        let mut rows = self.journal.outbox_from(from, EVENTS_MAX, BYTES_MAX as u64)?;
        let proof = self.prover.due(self.incarnation, from - 1, &rows);
        let proves = proof.is_some();
        if proves {
            rows.clear();
        }
        let waiting = (last_seq + 1).saturating_sub(from);
        let events = rows.iter().map(|row| (row.header.clone(), row.payload.clone())).collect();
        let asked = Asked { incarnation: self.incarnation, vitals: Vitals { held, waiting }, events, proof };
        let Some(Told { answer, mark, signed }) = self.ask(asked).await else { return Ok(false) };
        if proves {
            self.prover.answered();
        }
        *numbered = rows.last().map_or(*numbered, |row| row.seq.max(*numbered));
        if answer.is_forked(self.incarnation, *numbered) {
            return Err(self.forked(&answer).await);
        }
        match answer {
            answer @ Answer::Receipt { .. } => {
                let last = rows.last().map_or(0, |row| row.seq);
                let carried = Carried { incarnation: self.incarnation, from, last };
                if let Some(seq) = answer.receipted(carried).filter(|seq| *seq >= from) {
                    self.receipt(seq, &rows, signed).await?;
                }
                if mark > held.max(self.prover.pending()) {
                    self.behind.notify_one();
                }
                if mark < held || answer.says_less(carried) {
                    self.prover.hub_is_behind();
                }
                Ok(true)
            }
            Answer::Gap { incarnation, expected } => {
                tracing::error!(incarnation, expected, from, "hub misses events that were receipted");
                if expected < from {
                    self.prover.hub_is_behind();
                }
                Ok(false)
            }
            Answer::Refused(reason) | Answer::Forked(reason) => {
                tracing::error!(error = reason, "hub refused the events");
                Ok(false)
            }
        }
    }

    /// Asks the hub once; `None` if there is no answer that can be used.
    pub(super) async fn ask(&self, asked: Asked) -> Option<Told> {
        let Asked { incarnation, vitals, events, proof } = asked;
        let member = self.member.borrow().clone();
        let newest = events.last().and_then(|(header, _)| decode_header(header).ok());
        let trace = newest.and_then(|header| header.context.trace);
        let account = member.account.clone();
        let outgoing = Outgoing { account, incarnation, at: wall(), vitals, events, proof };
        let body = encode_request(&outgoing, &self.keys.event);
        let bytes = match self.bus.send(body.into(), trace.as_deref()).await {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::debug!(error = %taffrail_runtime::telemetry::chain(&error), "hub did not answer");
                return None;
            }
        };
        match open_answer(&bytes, &member.account, &member.hub_key) {
            Ok((answer, mark)) => {
                Some(Told { answer, mark, signed: signed_receipt(&bytes).unwrap_or_default().into() })
            }
            Err(error) => {
                tracing::error!(error = %taffrail_runtime::telemetry::chain(&error), "answer of the hub not usable");
                None
            }
        }
    }

    /// Another has used the numbers of this journal: it ends here, and the next start begins the next incarnation.
    async fn forked(&self, answer: &Answer) -> journal::Error {
        tracing::error!(?answer, "another agent has spoken with this identity, this one ends");
        let kept = Write::PutSetting { key: FORKED.to_owned(), bytes: Bytes::from_static(b"1") };
        match self.journal.commit(vec![kept]).await {
            Ok(()) => journal::Error::Forked { incarnation: self.incarnation },
            Err(error) => error,
        }
    }

    /// The hub has these rows up to `seq`, and signed that.
    async fn receipt(&mut self, seq: u64, rows: &[Numbered], signed: Bytes) -> Result<(), journal::Error> {
        self.prover.keep(&signed);
        let freed: u64 = rows.iter().filter(|row| row.seq <= seq).map(Numbered::length).sum();
        let kept = Write::PutSetting { key: RECEIPT.to_owned(), bytes: signed };
        self.journal.commit(vec![Write::Receipt { seq }, kept]).await?;
        self.sent.send_modify(|sent| {
            sent.receipted = sent.receipted.max(seq);
            sent.freed += freed;
        });
        Ok(())
    }
}

fn wall() -> At {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    At(u64::try_from(wall).unwrap_or(u64::MAX))
}
