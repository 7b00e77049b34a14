//! The hub's process: the driver's loop around the real step, over a log that a crash cuts.

use crate::axis::Axis;
use crate::disk::{Log, Record};
use crate::hub_work::{Look, Work};
use crate::identity::Key;
use crate::plan::{Mistake, Point};
use crate::world::{Happening, World};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use taffrail_core::cluster::JoinRequest;
use taffrail_core::event::Actor;
use taffrail_core::id::{AccountKey, CommitId};
use taffrail_core::node::hub::{Append, Command, Effect, Hub, Input, Outputs, Reply, Settings};
use taffrail_core::source::Track;
use taffrail_core::time::{At, Span};
use taffrail_proto::sign::PublicKey;
use taffrail_proto::stored;

/// Most batches whose fsync is awaited, as in the hub's driver.
const IN_FLIGHT_MAX: usize = 2;

/// The least that the epoch file beside the log says; the log may say more.
const EPOCH: u64 = 1;

/// The hub's machine: what outlives its process.
#[derive(Debug)]
pub(crate) struct Place {
    /// The disk.
    pub(crate) log: Log,
    /// Number of the process that runs, or ran last.
    pub(crate) life: u64,
    /// The process.
    pub(crate) process: Option<Process>,
    /// How far its clock is off.
    pub(crate) skew: i64,
    /// Where it is to die next.
    pub(crate) armed: Option<Point>,
    /// Signs indexes and receipts.
    pub(crate) signer: Key,
    /// The offline key: it signs the grants of new epochs.
    pub(crate) offline: Key,
    /// How often it was restored from a copy.
    pub(crate) restored: u64,
}

impl Place {
    /// A hub that never ran; `curve` tells whether it signs for real.
    pub(crate) fn new(curve: bool) -> Place {
        let signer = Key::new([7; 32], curve);
        let (offline, restored) = (Key::new([8; 32], curve), 0);
        Place { log: Log::default(), life: 0, process: None, skew: 0, armed: None, signer, offline, restored }
    }
}

/// What is in the memory of the process.
#[derive(Debug)]
pub(crate) struct Process {
    /// The machines.
    pub(crate) hub: Hub,
    axis: Axis,
    started: u64,
    queue: VecDeque<Message>,
    turning: bool,
    in_flight: VecDeque<Held>,
    synced_at: u64,
    asked: BTreeMap<u64, Asker>,
    token: u64,
    wake: u64,
    outputs: usize,
    /// What it does beside the loop.
    pub(crate) work: Work,
}

/// Who waits for a reply.
#[derive(Clone, Debug)]
pub(crate) enum Asker {
    /// An agent's request.
    Agent(Request),
    /// A person's order.
    Person(u64),
    /// An agent that wants to join.
    Joiner(usize, u64),
}

/// A request of an agent on its way through the hub.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) site: usize,
    pub(crate) account: AccountKey,
    pub(crate) id: u64,
    pub(crate) body: Bytes,
    pub(crate) epoch: u64,
}

/// What waits for the driver.
#[derive(Debug)]
pub(crate) enum Message {
    /// An input that nobody waits for.
    Input(Input),
    /// An input with a reply, and the signature that belongs to it.
    Ask(Asker, Bytes, Box<Input>),
    /// A look at the state.
    Look(Question),
}

/// What is asked of the state.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// The key that a request must be signed with.
    Key(Request),
    /// Whether these revisions moved, and from where.
    News(Vec<(Track, CommitId)>),
    /// Who is connected.
    Status,
}

/// What a look at the state found, once that state is durable.
#[derive(Debug)]
pub(crate) enum Found {
    /// The key, and the hub's epoch.
    Key(Request, Result<(PublicKey, u64), &'static str>),
    /// Revisions that moved, with the accepted head.
    News(Vec<(Track, CommitId, Option<CommitId>)>),
    /// Accounts that are shown as connected, and when it was looked.
    Status(Vec<AccountKey>, u64),
}

/// What waits for a batch to be durable.
#[derive(Debug, Default)]
struct Held {
    end: usize,
    outputs: Vec<Output>,
}

/// What leaves the driver.
#[derive(Debug)]
pub(crate) enum Output {
    /// A reply, and the log index of the state that gave it.
    Reply(Asker, Reply, u64),
    /// An answer about the state.
    Found(Found),
    /// A debt to pay.
    Effect(Box<Effect>),
}

/// One thing that the process does.
#[derive(Debug)]
pub(crate) enum HubJob {
    /// Drain the queue.
    Turn,
    /// A batch is on the disk.
    Synced,
    /// The timer, if it is still the one that counts.
    Wake(u64),
    /// An output leaves.
    Output(Box<Output>),
    /// A task posts what came of it.
    Post(Box<Input>),
    /// An order arrives.
    Order(u64, Box<Command>),
    /// An agent asks to join.
    Join(usize, u64, Box<JoinRequest>),
    /// A look at Git goes on.
    Look(Look),
    /// The streams are looked after.
    Ensure,
    /// An effect is carried out.
    Pay(Box<Effect>),
}

impl World {
    /// The process starts: the log becomes the state.
    pub(crate) fn boot_hub(&mut self) {
        if self.hub.process.is_some() {
            return;
        }
        let Some(state) = self.replayed() else { return };
        self.hub.life += 1;
        let lease = Span(3 * self.plan.heartbeat);
        let wall = At(self.now.saturating_add_signed(self.hub.skew));
        let axis = Axis::begin(self.now, wall, state.appended_at);
        let process = Process {
            hub: Hub::new(state, Settings { lease }),
            axis,
            started: self.now,
            queue: VecDeque::new(),
            turning: false,
            in_flight: VecDeque::new(),
            synced_at: self.now,
            asked: BTreeMap::new(),
            token: 0,
            wake: 0,
            outputs: 0,
            work: Work::default(),
        };
        self.hub.process = Some(process);
        self.say(|| "the hub starts".into());
        self.post(Message::Input(Input::Started { version: "1".into(), epoch: EPOCH }));
        self.post(Message::Input(Input::RestoreKey(self.hub.offline.public().0)));
        self.post(Message::Input(Input::Witnessed(self.broker.marks.clone().into_iter().collect())));
        self.hub_after(1, HubJob::Ensure);
    }

    /// The process dies; what is on its way to the disk may get there or not.
    pub(crate) fn crash_hub(&mut self) {
        let Some(process) = self.hub.process.take() else { return };
        self.say(|| "the hub dies".into());
        let before = self.hub.log.durable;
        if self.hub.log.records.len() > before {
            self.seen.saw("the hub died with a batch not durable");
        }
        if process.outputs > 0 {
            self.seen.saw("the hub died between two outputs");
        }
        self.hub.log.crash(&mut self.random);
        if self.hub.log.durable > before {
            self.seen.saw("the hub died, and a batch survived that nobody was told of");
        }
        if self.has(Mistake::ForgetBatch) && !self.hub.log.ends.is_empty() {
            self.hub.log.ends.pop();
            self.hub.log.durable = self.hub.log.ends.last().copied().unwrap_or(0);
            self.hub.log.records.truncate(self.hub.log.durable);
        }
        self.check.durable(&self.hub.log.records);
        let pause = self.random.between(300, 5_000);
        self.after(pause, Happening::BootHub);
    }

    pub(crate) fn hub_after(&mut self, span: u64, job: HubJob) {
        self.after(span, Happening::Hub(self.hub.life, job));
    }

    /// The process's own time.
    pub(crate) fn hub_now(&self) -> At {
        self.hub.process.as_ref().map_or(At(self.now), |process| process.axis.now(self.now))
    }

    pub(crate) fn post(&mut self, message: Message) {
        if let Some(process) = &mut self.hub.process {
            process.queue.push_back(message);
            self.rearm_hub();
        }
    }

    /// An input that nobody waits for.
    pub(crate) fn post_hub(&mut self, input: Input) {
        self.post(Message::Input(input));
    }

    /// A question about the state.
    pub(crate) fn question(&mut self, question: Question) {
        self.post(Message::Look(question));
    }

    /// What the loop waits for next.
    fn rearm_hub(&mut self) {
        let at = self.hub_now();
        let Some(process) = &mut self.hub.process else { return };
        let room = process.in_flight.len() < IN_FLIGHT_MAX;
        let turn = room && !process.turning && !process.queue.is_empty();
        process.turning |= turn;
        process.wake += 1;
        let (wake, due) = (process.wake, process.hub.next_wake());
        if turn {
            let pause = self.random.below(3);
            self.hub_after(pause, HubJob::Turn);
        }
        if let (Some(due), true) = (due, room) {
            self.hub_after(due.since(at).0, HubJob::Wake(wake));
        }
    }

    pub(crate) fn hub_job(&mut self, job: HubJob) {
        match job {
            HubJob::Turn => self.turn_hub(),
            HubJob::Wake(wake) => {
                if self.hub.process.as_ref().is_some_and(|process| process.wake == wake) {
                    let mut batch = Batch::default();
                    self.step_hub(Input::Wake, &[], &mut batch);
                    self.append(batch);
                }
            }
            HubJob::Synced => self.synced(),
            HubJob::Output(output) => self.output(*output),
            HubJob::Post(input) => self.post_hub(*input),
            HubJob::Order(number, command) => {
                let actor = Actor::Person("ada".into());
                let input = Input::Ordered { token: 0, actor, command: *command };
                self.post(Message::Ask(Asker::Person(number), Bytes::new(), Box::new(input)));
            }
            HubJob::Join(site, identity, request) => {
                let input = Input::Joining { token: 0, request: *request };
                self.post(Message::Ask(Asker::Joiner(site, identity), Bytes::new(), Box::new(input)));
            }
            HubJob::Look(look) => self.look_at_git(look),
            HubJob::Ensure => self.ensure_streams(),
            HubJob::Pay(effect) => self.pay(*effect),
        }
    }

    fn turn_hub(&mut self) {
        let mut batch = Batch::default();
        let most = self.plan.batch;
        for taken in 1..=most {
            let Some(process) = &mut self.hub.process else { return };
            process.turning = false;
            let Some(message) = process.queue.pop_front() else { break };
            self.take(message, &mut batch);
            if taken == most && most > 1 {
                self.seen.saw("a batch was full");
            }
        }
        self.append(batch);
    }

    fn take(&mut self, message: Message, batch: &mut Batch) {
        match message {
            Message::Input(input) => self.step_hub(input, &[], batch),
            Message::Ask(asker, signature, input) => {
                let Some(process) = &mut self.hub.process else { return };
                process.token += 1;
                let token = process.token;
                process.asked.insert(token, asker);
                self.step_hub(with_token(*input, token), &signature, batch);
            }
            Message::Look(question) => {
                let at = self.hub_now();
                let lease = Span(3 * self.plan.heartbeat);
                let Some(process) = &self.hub.process else { return };
                let found = crate::hub_work::answer(&process.hub, question, at, lease, self.now);
                batch.outputs.push(Output::Found(found));
            }
        }
    }

    fn step_hub(&mut self, mut input: Input, signature: &[u8], batch: &mut Batch) {
        let at = self.hub_now();
        let gap = self.has(Mistake::TakeGap);
        let Some(process) = &mut self.hub.process else { return };
        if let (true, Input::Batched { account, batch, .. }) = (gap, &mut input) {
            let known =
                process.hub.state().clusters.by_account(account).map(|(_, _, enrolment)| enrolment.chain);
            if let (Some(chain), Some(first)) = (known, batch.links.first_mut())
                && first.seq == chain.seq + 2
            {
                (first.seq, first.previous) = (chain.seq + 1, chain.hash);
            }
        }
        let repeats = match &input {
            Input::Batched { account, batch, .. } => {
                let known = process.hub.state().clusters.by_account(account);
                let chain = known.map(|(_, _, enrolment)| enrolment.chain).unwrap_or_default();
                let old = batch.links.first().is_some_and(|first| first.seq <= chain.seq);
                old && batch.incarnation == chain.incarnation
            }
            _ => false,
        };
        let Outputs { appends, replies, effects, appended_at, .. } = process.hub.step(input, at);
        let index = process.hub.state().index;
        for (token, reply) in replies {
            if let Some(asker) = process.asked.remove(&token) {
                batch.outputs.push(Output::Reply(asker, reply, index));
            }
        }
        batch.outputs.extend(effects.into_iter().map(|effect| Output::Effect(Box::new(effect))));
        if repeats {
            self.seen.saw("a repeated event was met");
        }
        let last = appends.iter().rposition(|append| matches!(append, Append::Foreign(_)));
        for (place, append) in appends.into_iter().enumerate() {
            self.witness(&append);
            let signature = if last == Some(place) { signature } else { &[] };
            let (header, body) = stored::encode(append, signature);
            batch.records.push(Record { at: appended_at, header, body });
        }
    }

    /// Hands a batch to the log; one without events waits for those in front of it.
    fn append(&mut self, batch: Batch) {
        let Batch { records, mut outputs } = batch;
        let empty = records.is_empty();
        let (early, act) = (self.has(Mistake::AnswerEarly), self.has(Mistake::ActEarly));
        if early || act {
            let hasty = |output: &Output| match output {
                Output::Reply(..) => early,
                Output::Effect(_) => act,
                Output::Found(_) => false,
            };
            let (now, later) = outputs.into_iter().partition(hasty);
            outputs = later;
            self.release(now);
        }
        self.hub.log.write(records);
        let end = self.hub.log.records.len();
        let pause = if empty { 0 } else { self.fsync() };
        let now = self.now;
        let Some(process) = &mut self.hub.process else { return };
        process.in_flight.push_back(Held { end, outputs });
        process.synced_at = process.synced_at.max(now) + pause;
        let wait = process.synced_at - now;
        self.hub_after(wait, HubJob::Synced);
        if !empty && self.hub_dies(Point::Written) {
            return self.crash_hub();
        }
        self.rearm_hub();
    }

    fn synced(&mut self) {
        let held = self.hub.process.as_mut().and_then(|process| process.in_flight.pop_front());
        let Some(Held { end, outputs }) = held else { return };
        let new = end > self.hub.log.durable;
        self.hub.log.durable = end;
        self.check.durable(&self.hub.log.records[..end]);
        if new && self.hub_dies(Point::Synced) {
            return self.crash_hub();
        }
        self.release(outputs);
        self.rearm_hub();
    }

    /// What waited leaves, each for itself: a crash may come between any two.
    fn release(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            if let Output::Effect(effect) = &output
                && let Effect::Follow(tracks) = &**effect
            {
                let tracks: BTreeSet<Track> = tracks.clone();
                self.follow(tracks);
                continue;
            }
            let pause = self.random.below(4);
            if let Some(process) = &mut self.hub.process {
                process.outputs += 1;
            }
            self.hub_after(pause, HubJob::Output(Box::new(output)));
        }
    }

    fn output(&mut self, output: Output) {
        if let Some(process) = &mut self.hub.process {
            process.outputs -= 1;
        }
        match output {
            Output::Reply(asker, reply, index) => self.reply(asker, &reply, index),
            Output::Found(found) => self.found_out(found),
            Output::Effect(effect) => {
                let pause = self.random.between(1, 30);
                self.hub_after(pause, HubJob::Pay(effect));
            }
        }
        let more = self.hub.process.as_ref().is_some_and(|process| process.outputs > 0);
        if more && self.hub_dies(Point::FirstOutput) {
            self.crash_hub();
        }
    }

    /// How long this process runs, in milliseconds.
    pub(crate) fn hub_age(&self) -> u64 {
        self.hub.process.as_ref().map_or(0, |process| self.now - process.started)
    }

    /// Nothing waits in the process, in its memory or on its way to the disk.
    pub(crate) fn hub_rests(&self) -> bool {
        self.hub.process.as_ref().is_some_and(|process| {
            process.queue.is_empty()
                && process.in_flight.is_empty()
                && process.outputs == 0
                && process.hub.is_idle()
                && process.hub.debts().is_empty()
        })
    }
}

/// One batch under construction.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    outputs: Vec<Output>,
}

fn with_token(mut input: Input, of: u64) -> Input {
    match &mut input {
        Input::Ordered { token, .. }
        | Input::Joining { token, .. }
        | Input::Batched { token, .. }
        | Input::Forged { token, .. } => *token = of,
        _ => {}
    }
    input
}

impl Request {
    /// The account that it came from.
    pub(crate) fn account(&self) -> &AccountKey {
        &self.account
    }
}
