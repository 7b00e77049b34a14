//! Drain, step, journal, perform.

use super::number::{folds, number};
use super::outbox::Sent;
use super::prove::Showing;
use super::{STOPPED, WAITING};
use crate::journal::{self, Journal, Mark, Snapshot, Write};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use taffrail_core::desired::Permit;
use taffrail_core::event::agent::Refusal;
use taffrail_core::id::{AccountKey, AppId, ClusterName};
use taffrail_core::node::agent::{Act, Agent, Input, Outputs};
use taffrail_core::object::Key;
use taffrail_core::outbox::Outbox;
use taffrail_core::time::At;
use taffrail_proto::event::{Ledger, Numbering};
use taffrail_proto::index::Verified;
use taffrail_proto::journal as encoding;
use taffrail_runtime::clock::Clock;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Inputs that wait for the driver; whoever posts more waits.
const QUEUE: usize = 1_024;

/// Most inputs of one journal transaction.
const INPUTS_MAX: usize = 256;

/// Carries acts out. It must not block.
pub trait Performer: Send {
    /// Begins an act.
    fn perform(&mut self, act: Act);

    /// An index was taken: its keys open its bundles.
    fn took(&mut self, verified: &Verified);
}

/// What the driver shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Number of the newest event in the outbox.
    pub last_seq: u64,
    /// Mark of the index in force.
    pub held: taffrail_core::desired::Mark,
    /// How often the cluster was restored from a backup under this process.
    pub times_back: u64,
}

/// What is posted to the driver.
#[derive(Debug)]
enum Message {
    Input(Box<Input>),
    Index(Box<Verified>, Permit),
}

/// The way to the driver.
#[derive(Clone, Debug)]
pub struct Handle(mpsc::Sender<Message>);

impl Handle {
    /// Posts an input. After the driver's end nobody needs it.
    pub async fn input(&self, input: Input) {
        drop(self.0.send(Message::Input(Box::new(input))).await);
    }

    /// Posts an index that was verified, with what lets it in where its epoch is higher.
    pub async fn index(&self, verified: Verified, permit: Permit) {
        drop(self.0.send(Message::Index(Box::new(verified), permit)).await);
    }

    /// Posts an index that is not to be taken.
    pub async fn bad_index(&self, mark: taffrail_core::desired::Mark, reason: Refusal) {
        self.input(Input::BadIndex { mark, reason }).await;
    }
}

/// What a driver needs to know of whom it works for.
pub struct Driving {
    /// The agent over what the journal holds.
    pub agent: Agent,
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// What the journal held at the start.
    pub snapshot: Snapshot,
    /// The cluster's identity.
    pub account: AccountKey,
    /// The cluster's name.
    pub cluster: ClusterName,
    /// Bytes that the outbox may take.
    pub room: u64,
    /// How far the outbox has come.
    pub sent: watch::Receiver<Sent>,
}

/// The agent's loop.
pub struct Driver {
    agent: Agent,
    journal: Arc<dyn Journal>,
    ledger: Ledger,
    bundles: BTreeSet<taffrail_core::digest::Digest>,
    messages: mpsc::Receiver<Message>,
    shown: watch::Sender<Shown>,
    showing: watch::Sender<Showing>,
    sent: watch::Receiver<Sent>,
    freed: u64,
    clock: Clock,
}

/// What one drain leads to.
#[derive(Default)]
struct Round {
    /// All steps together.
    out: Outputs,
    writes: Vec<Write>,
    came: u64,
    signed: Option<Bytes>,
}

impl Driver {
    /// A driver, the way to it, and what it shows.
    ///
    /// # Errors
    /// A fold of the journal cannot be read.
    pub fn new(
        driving: Driving,
    ) -> Result<(Driver, Handle, watch::Receiver<Shown>), taffrail_proto::error::Error> {
        let (sender, messages) = mpsc::channel(QUEUE);
        let Driving { agent, journal, snapshot, account, cluster, room, sent } = driving;
        let last_seq = snapshot.next_seq.saturating_sub(1);
        let first = Shown { last_seq, held: agent.held().mark, times_back: 0 };
        let (shown, seen) = watch::channel(first);
        let (incarnation, next_seq, last_hash) =
            (snapshot.incarnation, snapshot.next_seq, snapshot.last_hash);
        let chain = Numbering { account, cluster, incarnation, next_seq, last_hash };
        let outbox = Outbox::new(room, snapshot.outbox_bytes, folds(snapshot.settings.iter())?);
        let ledger = Ledger { chain, outbox };
        let bundles = snapshot.bundles.keys().copied().collect();
        let head = (next_seq.saturating_sub(1), last_hash);
        let pending = agent.waiting().map(|held| held.mark).unwrap_or_default();
        let signed = snapshot.index.filter(|_| agent.held().index.is_some());
        let showing = watch::Sender::new(Showing { signed, pending, head, ..Showing::default() });
        let (freed, clock) = (sent.borrow().freed, Clock::after(0));
        let driver = Driver { agent, journal, ledger, bundles, messages, shown, showing, sent, freed, clock };
        Ok((driver, Handle(sender), seen))
    }

    /// What there is to show to the hub of its own words.
    pub fn showing(&self) -> watch::Receiver<Showing> {
        self.showing.subscribe()
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// The journal's error, after which the process must end.
    pub async fn run(
        mut self,
        performer: &mut dyn Performer,
        stop: CancellationToken,
    ) -> Result<(), journal::Error> {
        loop {
            let wake = self.agent.next_wake();
            let pause = Duration::from_millis(wake.map_or(0, |wake| wake.since(self.now()).0));
            let mut round = Round::default();
            let waits = self.ledger.outbox.waits();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                message = self.messages.recv() => {
                    let Some(message) = message else { return Ok(()) };
                    self.take(message, performer, &mut round);
                    for _ in 1..INPUTS_MAX {
                        let Ok(message) = self.messages.try_recv() else { break };
                        self.take(message, performer, &mut round);
                    }
                }
                // Receipts make room for what waits; whoever sends lives as long as the driver.
                Ok(()) = self.sent.changed(), if waits => {}
                () = tokio::time::sleep(pause), if wake.is_some() => {
                    let at = self.now();
                    let out = self.agent.step(Input::Wake, at);
                    round.out.absorb(out);
                }
            }
            self.finish(round, performer).await?;
        }
    }

    fn now(&self) -> At {
        At(self.clock.now_ms())
    }

    fn take(&mut self, message: Message, performer: &mut dyn Performer, round: &mut Round) {
        let at = self.now();
        match message {
            Message::Input(input) => round.out.absorb(self.agent.step(*input, at)),
            Message::Index(verified, permit) => {
                let Verified { index, digest, .. } = &*verified;
                let waited = self.agent.waiting().is_some();
                let input = Input::Index { index: index.clone(), digest: *digest, permit };
                let out = self.agent.step(input, at);
                round.came += 1;
                if out.took_index {
                    performer.took(&verified);
                    let mark = Mark { epoch: index.mark.epoch, generation: index.mark.generation };
                    let bytes = Bytes::from(verified.signed);
                    round.signed = Some(bytes.clone());
                    round.writes.push(Write::PutIndex { bytes });
                    round.writes.push(Write::PutMark(mark));
                    round.writes.extend(waited.then(|| setting(WAITING, Bytes::new())));
                } else if out.kept_index {
                    tracing::warn!(mark = %index.mark, "index of a restored hub waits for the adoption");
                    round.writes.push(setting(WAITING, verified.signed.into()));
                }
                round.out.absorb(out);
            }
        }
    }

    /// One transaction for everything, then the effects.
    async fn finish(&mut self, round: Round, performer: &mut dyn Performer) -> Result<(), journal::Error> {
        let Round { out, mut writes, came, signed } = round;
        let Outputs { facts, dirty, items, gone, stopped, prove, acts, .. } = out;
        writes.extend(stopped.map(|epoch| setting(STOPPED, epoch.to_be_bytes().to_vec().into())));
        // What is gone goes first: an app may have come back within the round.
        writes.extend(gone.iter().map(|app| Write::RemoveInstance { app: app.to_string() }));
        writes.extend(dirty.iter().filter_map(|app| self.head(app)));
        writes.extend(items.iter().flat_map(|(app, keys)| self.rows(app, keys)));
        let freed = self.sent.borrow_and_update().freed;
        self.ledger.outbox.freed(freed - std::mem::replace(&mut self.freed, freed));
        writes.extend(number(&mut self.ledger, facts));
        if writes.iter().any(|write| matches!(write, Write::PutIndex { .. })) {
            writes.extend(self.unneeded());
        }
        if !writes.is_empty() {
            self.journal.commit(writes).await?;
        }
        let (held, times_back) = (self.agent.held().mark, self.agent.times_back());
        let shown = Shown { last_seq: self.ledger.chain.next_seq - 1, held, times_back };
        self.shown.send_if_modified(|known| {
            let differs = *known != shown;
            *known = shown;
            differs
        });
        self.show(prove, came, signed);
        for act in acts {
            performer.perform(act);
        }
        Ok(())
    }

    /// Shows what is durable now; whoever waits is woken only by a reason to speak to the hub.
    fn show(&self, prove: bool, came: u64, signed: Option<Bytes>) {
        self.showing.send_if_modified(|showing| {
            showing.signed = signed.or(showing.signed.take());
            showing.pending = self.agent.waiting().map(|held| held.mark).unwrap_or_default();
            showing.head = (self.ledger.chain.next_seq - 1, self.ledger.chain.last_hash);
            showing.asked += u64::from(prove);
            showing.came += came;
            prove || came > 0
        });
    }

    /// An instance without its inventory.
    fn head(&self, app: &AppId) -> Option<Write> {
        let bytes = encoding::encode(self.agent.instance(app)?).into();
        Some(Write::PutInstance { app: app.to_string(), bytes })
    }

    /// The objects of its inventory that changed.
    fn rows(&self, app: &AppId, keys: &BTreeSet<Key>) -> Vec<Write> {
        let Some(instance) = self.agent.instance(app) else { return Vec::new() };
        let row = |key| {
            let (app, name) = (app.to_string(), encoding::name_of(key));
            match instance.items.get(key) {
                Some(item) => Write::PutItem { app, name, bytes: encoding::encode_item(key, item).into() },
                None => Write::RemoveItem { app, name },
            }
        };
        keys.iter().map(row).collect()
    }

    /// Bundles that neither the index nor what is applied names.
    fn unneeded(&mut self) -> Vec<Write> {
        let mut needed = BTreeSet::new();
        for (_, instance) in self.agent.instances() {
            needed.insert(instance.entry.digest);
            needed.extend(instance.applied.map(|(_, digest)| digest));
        }
        let held: BTreeSet<_> = std::mem::replace(&mut self.bundles, needed.clone());
        held.difference(&needed).map(|digest| Write::RemoveBundle { digest: *digest }).collect()
    }
}

fn setting(key: &str, bytes: Bytes) -> Write {
    Write::PutSetting { key: key.to_owned(), bytes }
}
