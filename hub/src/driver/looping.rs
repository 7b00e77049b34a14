//! Drain, step, append, release.

use super::clock::Clock;
use super::handle::{Answered, Handle, Message, Release, channel};
use super::record::record;
use crate::log::{self, AppendTicket, Log, Record};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use taffrail_core::node::hub::{Append, Effect, Hub, Input, Outputs};
use taffrail_core::time::At;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Most inputs of one batch (design, section 9).
const INPUTS_MAX: usize = 1_024;

/// Bytes of events after which a batch is closed (design, section 9).
const BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most batches whose fsync is awaited: one in the disk's hands, one behind it.
const IN_FLIGHT_MAX: usize = 2;

/// Carries effects out. It must not block: it hands them to tasks that post back.
pub trait Performer: Send {
    /// Begins an effect.
    fn perform(&mut self, effect: Effect);
}

/// The hub's loop.
pub struct Driver {
    hub: Hub,
    log: Arc<dyn Log>,
    clock: Clock,
    messages: mpsc::Receiver<Message>,
    shown: watch::Sender<u64>,
    asked: BTreeMap<u64, oneshot::Sender<Answered>>,
    next_token: u64,
}

/// What waits for a batch to be durable.
#[derive(Default)]
struct Held {
    replies: Vec<(oneshot::Sender<Answered>, Answered)>,
    looks: Vec<Release>,
    effects: Vec<Effect>,
    index: u64,
}

/// One batch under construction.
#[derive(Default)]
struct Open {
    first: Option<u64>,
    records: Vec<Record>,
    bytes: usize,
    held: Held,
}

impl Driver {
    /// A driver over a replayed hub, and the way to it. `shown` follows the last durable log index.
    pub fn new(hub: Hub, log: Arc<dyn Log>) -> (Driver, Handle, watch::Receiver<u64>) {
        let (handle, messages) = channel();
        let clock = Clock::after(hub.state().appended_at);
        let (shown, seen) = watch::channel(hub.state().index);
        let (asked, next_token) = (BTreeMap::new(), 0);
        (Driver { hub, log, clock, messages, shown, asked, next_token }, handle, seen)
    }

    /// Runs until `stop`, then lets the batches in flight become durable.
    ///
    /// # Errors
    /// The log's error, after which the process must end.
    pub async fn run(
        mut self,
        performer: &mut dyn Performer,
        stop: CancellationToken,
    ) -> Result<(), log::Error> {
        let mut in_flight: VecDeque<(AppendTicket, Held)> = VecDeque::new();
        loop {
            let wake = self.hub.next_wake();
            let pause = self.until(wake);
            tokio::select! {
                biased;
                done = async { (&mut in_flight[0].0).await }, if !in_flight.is_empty() => {
                    done?;
                    if let Some((_, held)) = in_flight.pop_front() {
                        self.release(held, performer);
                    }
                }
                () = stop.cancelled() => break,
                message = self.messages.recv(), if in_flight.len() < IN_FLIGHT_MAX => {
                    let Some(message) = message else { break };
                    let open = self.drain(message);
                    self.append(open, &mut in_flight);
                }
                () = tokio::time::sleep(pause), if wake.is_some() && in_flight.len() < IN_FLIGHT_MAX => {
                    let mut open = Open::default();
                    self.step(Input::Wake, &[], &mut open);
                    self.append(open, &mut in_flight);
                }
            }
        }
        while let Some((ticket, held)) = in_flight.pop_front() {
            ticket.await?;
            self.release(held, performer);
        }
        Ok(())
    }

    fn until(&self, wake: Option<At>) -> Duration {
        let now = self.clock.now();
        Duration::from_millis(wake.map_or(0, |wake| wake.since(now).0))
    }

    fn drain(&mut self, first: Message) -> Open {
        let mut open = Open::default();
        let mut inputs = 1;
        self.take(first, &mut open);
        while inputs < INPUTS_MAX && open.bytes < BYTES_MAX {
            let Ok(message) = self.messages.try_recv() else { break };
            inputs += 1;
            self.take(message, &mut open);
        }
        open
    }

    fn take(&mut self, message: Message, open: &mut Open) {
        match message {
            Message::Input(input) => self.step(input, &[], open),
            Message::Ask { make, signature, bytes, answer } => {
                self.next_token += 1;
                self.asked.insert(self.next_token, answer);
                open.bytes += bytes;
                self.step(make(self.next_token), &signature, open);
            }
            Message::Look(question) => {
                let at = self.clock.now();
                open.held.looks.push(question(&self.hub, at));
                open.held.index = self.hub.state().index;
            }
        }
    }

    fn step(&mut self, input: Input, signature: &[u8], open: &mut Open) {
        let at = self.clock.now();
        let Outputs { first, appends, replies, effects, appended_at } = self.hub.step(input, at);
        open.first.get_or_insert(first);
        let last_foreign = appends.iter().rposition(|append| matches!(append, Append::Foreign(_)));
        for (position, append) in appends.iter().enumerate() {
            let signature = if last_foreign == Some(position) { signature } else { &[] };
            let record = record(append, appended_at, signature);
            open.bytes += record.header.len() + record.payload.len();
            open.records.push(record);
        }
        let index = self.hub.state().index;
        open.held.index = index;
        for (token, reply) in replies {
            if let Some(answer) = self.asked.remove(&token) {
                open.held.replies.push((answer, Answered { reply, index }));
            }
        }
        open.held.effects.extend(effects);
    }

    /// Hands a batch to the log. One without events waits for those in front of it.
    fn append(&self, open: Open, in_flight: &mut VecDeque<(AppendTicket, Held)>) {
        let first = open.first.unwrap_or_else(|| self.log.next_index());
        in_flight.push_back((self.log.append(first, open.records), open.held));
    }

    fn release(&self, held: Held, performer: &mut dyn Performer) {
        self.shown.send_replace(held.index);
        for (answer, answered) in held.replies {
            // Whoever asked may have left; the fact stands.
            drop(answer.send(answered));
        }
        held.looks.into_iter().for_each(|release| release());
        held.effects.into_iter().for_each(|effect| performer.perform(effect));
    }
}
