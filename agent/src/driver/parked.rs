//! Events that outlive their journal: sent first after a start, kept in the cluster at an end.

use super::outbox::{Asked, Outbox, PAUSE_MAX, PAUSE_MIN};
use crate::journal;
use bytes::Bytes;
use taffrail_core::cluster::Vitals;
use taffrail_proto::event::Numbered;
use taffrail_proto::journal::{Chain, Parked};
use taffrail_proto::report::{Answer, BYTES_MAX, Carried, EVENTS_MAX};
use tokio_util::sync::CancellationToken;

/// Most bytes of headers and payloads that are looked at for parking: they are packed to a tenth at best.
const LEFT_BYTES_MAX: u64 = 8 << 20;

impl Outbox {
    /// Sends parked events under the incarnations that numbered them. The hub takes none of them once it has heard of a
    /// newer incarnation, so nothing else is sent before.
    pub(super) async fn send_parked(&mut self, stop: &CancellationToken) {
        let mut pause = PAUSE_MIN;
        while let Some(chain) = self.parked.as_mut().and_then(|parked| parked.chains.first_mut()) {
            let (incarnation, from) = (chain.incarnation, chain.from);
            let events = first_of(&chain.events);
            let held = self.shown.borrow().held;
            let waiting = chain.events.len() as u64;
            let last = from + (events.len() as u64).saturating_sub(1);
            let asked = Asked { incarnation, vitals: Vitals { held, waiting }, events, proof: None };
            let through = match self.ask(asked).await.map(|told| told.answer) {
                Some(answer @ Answer::Receipt { .. }) => {
                    answer.receipted(Carried { incarnation, from, last }).filter(|seq| *seq >= from)
                }
                Some(Answer::Refused(reason) | Answer::Forked(reason)) => {
                    tracing::error!(
                        incarnation,
                        from,
                        error = reason,
                        "hub refused events of an earlier run"
                    );
                    Some(u64::MAX)
                }
                Some(Answer::Gap { expected, .. }) => {
                    tracing::error!(
                        incarnation,
                        from,
                        expected,
                        "hub misses events before those of an earlier run"
                    );
                    Some(u64::MAX)
                }
                None => None,
            };
            if let Some(through) = through {
                pause = PAUSE_MIN;
                self.forget_through(through);
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                () = self.removed.cancelled() => return,
                () = stop.cancelled() => return,
            }
        }
    }

    /// The first chain is with the hub up to this number.
    fn forget_through(&mut self, through: u64) {
        let Some(parked) = &mut self.parked else { return };
        let Some(chain) = parked.chains.first_mut() else { return };
        let sent = through.saturating_add(1).saturating_sub(chain.from);
        let sent = usize::try_from(sent).unwrap_or(usize::MAX).min(chain.events.len());
        chain.events.drain(..sent);
        chain.from += sent as u64;
        if chain.events.is_empty() {
            parked.chains.remove(0);
        }
    }

    /// What was parked is with the hub: the cluster forgets it, now or at a later try.
    pub(super) async fn clear_parked(&mut self) {
        if self.parked.is_none() {
            return;
        }
        match self.park.park(None).await {
            Ok(()) => self.parked = None,
            Err(error) => tracing::warn!(error = %error, "parked events not cleared, will retry"),
        }
    }

    /// Keeps in the cluster what the hub has not, for a start without this journal.
    pub(super) async fn park_rest(mut self) -> Result<(), journal::Error> {
        let from = self.sent.borrow().receipted + 1;
        let rows = self.journal.outbox_from(from, u32::MAX, LEFT_BYTES_MAX)?;
        let mut chains = self.parked.take().map(|parked| parked.chains).unwrap_or_default();
        let events = rows.into_iter().map(|Numbered { header, payload, .. }| (header, payload)).collect();
        chains.push(Chain { incarnation: self.incarnation, from, events });
        let last_seq = self.shown.borrow().last_seq;
        let parked = Parked { chains, incarnation: self.incarnation, last_seq };
        if let Err(error) = self.park.park(Some(parked)).await {
            tracing::warn!(error = %error, "events that were not sent are not parked");
        }
        Ok(())
    }
}

/// As many events as one request may carry.
fn first_of(events: &[(Bytes, Bytes)]) -> Vec<(Bytes, Bytes)> {
    let mut bytes = 0;
    let fits = |(header, payload): &&(Bytes, Bytes)| {
        let first = bytes == 0;
        bytes += header.len() + payload.len();
        first || bytes <= BYTES_MAX
    };
    events.iter().take(EVENTS_MAX as usize).take_while(fits).cloned().collect()
}
