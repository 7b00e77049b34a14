//! Drain, step, append, release.

use super::clock::Clock;
use super::handle::{Answered, Handle, Inbox, Message, Release, channel};
use super::record::record;
use crate::log::failpoint::{self, Place};
use crate::log::{self, AppendTicket, Log, Record, Room};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use taffrail_core::node::hub::{Append, Effect, Hub, Input, Outputs, Reply};
use taffrail_core::time::At;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Most inputs of one batch (design, section 9).
const INPUTS_MAX: usize = 1_024;

/// Bytes of events after which a batch is closed (design, section 9).
const BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most batches whose fsync is awaited: one in the disk's hands, one behind it.
const IN_FLIGHT_MAX: usize = 2;

/// What whoever asks for a decision is told while the disk is nearly full.
pub const SHORT: &str = "the hub's disk is nearly full: it records nothing until there is room again";

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
    inbox: Inbox,
    room: watch::Receiver<Room>,
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

/// With what a batch begins.
enum Next {
    Input(Input),
    Question(Message),
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
        let (handle, inbox) = channel();
        let room = log.room();
        let clock = Clock::after(hub.state().appended_at);
        let (shown, seen) = watch::channel(hub.state().index);
        let (asked, next_token) = (BTreeMap::new(), 0);
        (Driver { hub, log, clock, inbox, room, shown, asked, next_token }, handle, seen)
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
            let place = in_flight.len() < IN_FLIGHT_MAX;
            let decides = place && self.takes();
            tokio::select! {
                biased;
                done = async { (&mut in_flight[0].0).await }, if !in_flight.is_empty() => {
                    done?;
                    if let Some((_, held)) = in_flight.pop_front() {
                        self.release(held, performer);
                    }
                }
                () = stop.cancelled() => break,
                Ok(()) = self.room.changed() => tell(*self.room.borrow_and_update()),
                Some(input) = self.inbox.inputs.recv(), if decides => {
                    let open = self.drain(Next::Input(input));
                    self.append(open, &mut in_flight);
                }
                message = self.inbox.questions.recv(), if place => {
                    let Some(message) = message else { break };
                    let open = self.drain(Next::Question(message));
                    self.append(open, &mut in_flight);
                }
                () = tokio::time::sleep(pause), if wake.is_some() && decides => {
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

    /// Whether anything new may be decided: while the disk is nearly full, nothing is, and inputs wait.
    fn takes(&self) -> bool {
        *self.room.borrow() == Room::Enough
    }

    /// Takes what waits. What was posted before a question is taken before it.
    fn drain(&mut self, first: Next) -> Open {
        let (mut open, mut taken, mut first) = (Open::default(), 0, Some(first));
        if let Some(Next::Input(input)) = first.take_if(|next| matches!(next, Next::Input(_))) {
            taken += 1;
            self.step(input, &[], &mut open);
        }
        while taken < INPUTS_MAX && open.bytes < BYTES_MAX {
            taken += 1;
            let posted = if self.takes() { self.inbox.inputs.try_recv().ok() } else { None };
            if let Some(input) = posted {
                self.step(input, &[], &mut open);
            } else if let Some(Next::Question(message)) = first.take() {
                self.take(message, &mut open);
            } else if let Ok(message) = self.inbox.questions.try_recv() {
                self.take(message, &mut open);
            } else {
                break;
            }
        }
        if let Some(Next::Question(message)) = first {
            self.take(message, &mut open);
        }
        open
    }

    fn take(&mut self, message: Message, open: &mut Open) {
        match message {
            Message::Ask { answer, .. } if !self.takes() => {
                let reply = Reply::Refused { reason: String::from(SHORT) };
                open.held.replies.push((answer, self.answered(reply)));
                open.held.index = self.hub.state().index;
            }
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

    fn answered(&self, reply: Reply) -> Answered {
        let state = self.hub.state();
        Answered { reply, index: state.index, epoch: state.planner.epoch }
    }

    fn step(&mut self, input: Input, signature: &[u8], open: &mut Open) {
        let at = self.clock.now();
        let Outputs { first, appends, replies, effects, appended_at } = self.hub.step(input, at);
        open.first.get_or_insert(first);
        let last_foreign = appends.iter().rposition(|append| matches!(append, Append::Foreign(_)));
        for (position, append) in appends.into_iter().enumerate() {
            let signature = if last_foreign == Some(position) { signature } else { &[] };
            let record = record(append, appended_at, signature);
            open.bytes += record.header.len() + record.payload.len();
            open.records.push(record);
        }
        open.held.index = self.hub.state().index;
        for (token, reply) in replies {
            if let Some(answer) = self.asked.remove(&token) {
                open.held.replies.push((answer, self.answered(reply)));
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
        failpoint::pass(Place::BeforeRelease);
        self.shown.send_replace(held.index);
        for (answer, answered) in held.replies {
            // Whoever asked may have left; the fact stands.
            drop(answer.send(answered));
        }
        held.looks.into_iter().for_each(|release| release());
        held.effects.into_iter().for_each(|effect| performer.perform(effect));
    }
}

fn tell(room: Room) {
    match room {
        Room::Enough => tracing::info!("room on the disk again, the log goes on"),
        Room::Short { free, reserve } => {
            tracing::error!(
                free_bytes = free,
                reserve_bytes = reserve,
                "disk nearly full, the log takes nothing"
            );
        }
    }
}
