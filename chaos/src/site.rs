//! A cluster's agent: the driver's loop around the real step, over a journal that a crash cuts.

use crate::api::Api;
use crate::axis::Axis;
use crate::disk::{Journal, Write};
use crate::identity::Identity;
use crate::kube::Watch;
use crate::outbox::Outbox;
use crate::plan::{Mistake, Point};
use crate::round::Round;
use crate::site_work::Ask;
use crate::world::{Happening, World};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use taffrail_core::desired::{Index, Mark};
use taffrail_core::digest::Digest;
use taffrail_core::id::{AccountKey, AppId};
use taffrail_core::node::agent::{Act, Agent, Input, Outputs};
use taffrail_core::object::Key;
use taffrail_core::proof::Reasons;
use taffrail_core::sync::Effect;
use taffrail_core::time::At;
use taffrail_proto::event::Ledger;
use taffrail_proto::index::Verified;
use taffrail_proto::journal as encoding;
use taffrail_proto::seal::BundleKey;

/// A cluster with its agent's machine.
#[derive(Debug)]
pub(crate) struct Site {
    /// Its number.
    pub(crate) number: usize,
    /// Its API server.
    pub(crate) api: Api,
    /// The agent's journal; none before the first start and after a loss.
    pub(crate) journal: Option<Journal>,
    /// Who it is; none until somebody invites it.
    pub(crate) identity: Option<Identity>,
    /// Number of the process that runs, or ran last.
    pub(crate) life: u64,
    /// When the last process died.
    pub(crate) died_at: u64,
    /// The process.
    pub(crate) process: Option<Process>,
    /// How far its clock is off.
    pub(crate) skew: i64,
    /// Until when it cannot reach the hub.
    pub(crate) cut_until: u64,
    /// Where it is to die next.
    pub(crate) armed: Option<Point>,
}

/// What is in the memory of the process.
#[derive(Debug)]
pub(crate) struct Process {
    /// The machines.
    pub(crate) agent: Agent,
    pub(crate) axis: Axis,
    pub(crate) queue: VecDeque<Message>,
    pub(crate) turning: bool,
    pub(crate) committing: bool,
    pub(crate) held_back: Vec<(Mark, Act)>,
    pub(crate) syncing: VecDeque<Waiter>,
    pub(crate) synced_at: u64,
    pub(crate) ledger: Ledger,
    /// Bytes that receipts freed and the ledger does not know of.
    pub(crate) freed: u64,
    pub(crate) bundles: BTreeSet<Digest>,
    pub(crate) keys: BTreeMap<Digest, BundleKey>,
    pub(crate) wake: u64,
    pub(crate) acts: usize,
    pub(crate) last_index: Option<Bytes>,
    pub(crate) look: u64,
    pub(crate) mirrored: Option<Mark>,
    /// What the driver shows.
    pub(crate) shown: Shown,
    /// What sends.
    pub(crate) outbox: Outbox,
    /// Why it shows what it holds.
    pub(crate) reasons: Reasons,
    /// How often decisions asked for that.
    pub(crate) asks: u64,
    /// A drain that is being written asks for a proof.
    pub(crate) proves: bool,
    /// What is watched, by group, version and kind.
    pub(crate) watches: BTreeMap<(String, String, String), Watch>,
    /// Number of the next watch.
    pub(crate) next_watch: u64,
}

/// What the driver shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Number of the newest event.
    pub(crate) last_seq: u64,
    /// The index in force.
    pub(crate) held: Mark,
}

/// What waits for the driver.
#[derive(Debug)]
pub(crate) enum Message {
    /// An input.
    Input(Box<Input>),
    /// An index that was verified.
    Index(Box<Verified>),
}

/// Who waits for a transaction.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// The driver's loop.
    Driver,
    /// The outbox, for the receipt up to here.
    Outbox,
    /// Loading a bundle.
    Load(Ask),
}

/// One thing that the process does.
#[derive(Debug)]
pub(crate) enum SiteJob {
    /// Drain the queue.
    Turn,
    /// The timer, if it is still the one that counts.
    Wake(u64),
    /// A transaction is on the disk.
    Synced,
    /// An act begins.
    Act(Box<Act>),
    /// A task posts what came of it.
    Post(Box<Input>),
    /// A bundle was fetched, or not.
    Fetched(Ask),
    /// An index comes, live or read, from a hub that was restored so often.
    Index(u64, Bytes),
    /// The stored index is read, if the timer is still the one that counts.
    Look(u64),
    /// The hub says that a newer index is out.
    Behind,
    /// The mark is mirrored.
    Mirror,
    /// The outbox's pause is over, if it is still the one that counts.
    Round(u64),
    /// The hub answers a request.
    Answer(u64, Bytes),
    /// It does not.
    Unanswered(u64),
    /// A watch lists.
    List((String, String, String), u64),
    /// A watch shows a change.
    Shown(
        (String, String, String),
        u64,
        taffrail_core::object::Key,
        Option<taffrail_core::sync::Fingerprint>,
    ),
}

impl Site {
    /// A cluster that nobody invited yet.
    pub(crate) fn new(number: usize) -> Site {
        Site {
            number,
            api: Api::default(),
            journal: None,
            identity: None,
            life: 0,
            died_at: 0,
            process: None,
            skew: 0,
            cut_until: 0,
            armed: None,
        }
    }

    /// Its account, once it is in.
    pub(crate) fn account(&self) -> Option<&AccountKey> {
        Some(&self.identity.as_ref()?.member.as_ref()?.0)
    }

    /// The mark and the number of the journal that the cluster remembers of this account; zeros if none.
    pub(crate) fn mirrored(&self, account: &AccountKey) -> (Mark, u64) {
        let ours = self.api.mark.as_ref().filter(|(of, ..)| of == account);
        ours.map(|(_, mark, incarnation)| (*mark, *incarnation)).unwrap_or_default()
    }
}

impl World {
    pub(crate) fn site_after(&mut self, site: usize, span: u64, job: SiteJob) {
        self.after(span, Happening::Site(site, self.sites[site].life, job));
    }

    pub(crate) fn process(&mut self, site: usize) -> Option<&mut Process> {
        self.sites[site].process.as_mut()
    }

    /// The process's own time.
    pub(crate) fn site_now(&self, site: usize) -> At {
        self.sites[site].process.as_ref().map_or(At(self.now), |process| process.axis.now(self.now))
    }

    pub(crate) fn post_site(&mut self, site: usize, input: Input) {
        self.post_message(site, Message::Input(Box::new(input)));
    }

    pub(crate) fn post_message(&mut self, site: usize, message: Message) {
        if let Some(process) = self.process(site) {
            process.queue.push_back(message);
            self.rearm_site(site);
        }
    }

    /// What the loop waits for next; while a transaction is under way, nothing.
    pub(crate) fn rearm_site(&mut self, site: usize) {
        let at = self.site_now(site);
        let Some(process) = self.process(site) else { return };
        if process.committing {
            return;
        }
        let turn = !process.turning && (!process.queue.is_empty() || process.has_room());
        process.turning |= turn;
        process.wake += 1;
        let (wake, due) = (process.wake, process.agent.next_wake());
        if turn {
            let pause = self.random.below(3);
            self.site_after(site, pause, SiteJob::Turn);
        }
        if let Some(due) = due {
            self.site_after(site, due.since(at).0, SiteJob::Wake(wake));
        }
    }

    pub(crate) fn site_job(&mut self, site: usize, job: SiteJob) {
        match job {
            SiteJob::Turn => self.turn_site(site),
            SiteJob::Wake(wake) => {
                let due =
                    self.process(site).is_some_and(|process| process.wake == wake && !process.committing);
                if due {
                    let mut round = Round::default();
                    self.step_site(site, Input::Wake, &mut round);
                    self.finish(site, round);
                }
            }
            SiteJob::Synced => self.synced_site(site),
            SiteJob::Act(act) => self.begin(site, *act),
            SiteJob::Post(input) => self.post_site(site, *input),
            SiteJob::Fetched(ask) => self.fetched(site, ask),
            SiteJob::Index(restored, sealed) => self.index_comes(site, restored, &sealed),
            SiteJob::Look(look) => self.look_for_index(site, look),
            SiteJob::Behind => self.read_index(site),
            SiteJob::Mirror => self.mirror(site),
            SiteJob::Round(round) => self.outbox_wakes(site, round),
            SiteJob::Answer(id, bytes) => self.answered(site, id, &bytes),
            SiteJob::Unanswered(id) => self.unanswered(site, id),
            SiteJob::List(kind, watch) => self.list(site, &kind, watch),
            SiteJob::Shown(kind, watch, key, print) => self.show(site, &kind, watch, key, print),
        }
    }

    fn turn_site(&mut self, site: usize) {
        let most = self.plan.batch;
        let Some(process) = self.process(site) else { return };
        process.turning = false;
        if process.committing {
            return;
        }
        let mut round = Round::default();
        for _ in 0..most {
            let Some(message) = self.process(site).and_then(|process| process.queue.pop_front()) else {
                break;
            };
            match message {
                Message::Input(input) => self.step_site(site, *input, &mut round),
                Message::Index(verified) => self.step_index(site, *verified, &mut round),
            }
        }
        self.finish(site, round);
    }

    fn step_site(&mut self, site: usize, input: Input, round: &mut Round) {
        let at = self.site_now(site);
        let Some(process) = self.process(site) else { return };
        let out = process.agent.step(input, at);
        let under = process.agent.held().mark;
        let stopped = out.stopped;
        round.add(out, under);
        self.one_hub(site, stopped);
    }

    fn step_index(&mut self, site: usize, verified: Verified, round: &mut Round) {
        let at = self.site_now(site);
        let forget = self.has(Mistake::ForgetIndex);
        let offline = self.known(self.hub.offline.public());
        let permit = verified.permit(Some(&offline), &self.hub.signer.public());
        let Some(process) = self.process(site) else { return };
        let Verified { index, digest, keys, signed, .. } = verified;
        let (mark, taken) = (index.mark, Box::new(index.clone()));
        let waited = process.agent.waiting().is_some();
        let out = process.agent.step(Input::Index { index, digest, permit }, at);
        let under = process.agent.held().mark;
        if out.kept_index {
            round.writes.push(Write::Pending(Some(signed.clone().into())));
            self.seen.saw("an index of a restored hub waited for the adoption");
            self.say(|| format!("agent {site} keeps {mark} until it is adopted"));
        } else if out.took_index {
            process.keys = keys;
            if !forget {
                round.writes.push(Write::Index(signed.into(), taken));
                round.writes.extend(waited.then_some(Write::Pending(None)));
            }
            let busy = out.acts.is_empty()
                && !process.agent.held().index.as_ref().is_none_or(|i| i.entries.is_empty());
            if busy {
                self.seen.saw("an index was pre-empted");
            }
            self.say(|| format!("agent {site} takes {mark}"));
        }
        let stopped = out.stopped;
        round.add(out, under);
        self.one_hub(site, stopped);
    }

    /// There is one hub, restored or not: nobody may see two indexes of one mark.
    fn one_hub(&mut self, site: usize, stopped: Option<u64>) {
        self.check.must(stopped.is_none(), || format!("agent {site} sees two indexes of one mark"));
    }

    /// One transaction for everything, then the acts.
    fn finish(&mut self, site: usize, round: Round) {
        let Round { out: Outputs { facts, dirty, items, gone, prove, .. }, mut writes, acts } = round;
        let early = self.has(Mistake::ActUnwritten);
        let Some(process) = self.process(site) else { return };
        process.proves |= prove;
        // What is gone goes first: an app may have come back within the round.
        writes.extend(gone.iter().map(|app| Write::Gone(app.to_string())));
        for app in &dirty {
            if let Some(instance) = process.agent.instance(app) {
                writes.push(Write::Instance(app.to_string(), encoding::encode(instance).into()));
            }
        }
        writes.extend(items.iter().flat_map(|(app, keys)| process.rows(app, keys)));
        writes.extend(process.enter(facts));
        if writes.iter().any(|write| matches!(write, Write::Index(..))) {
            writes.push(process.unneeded());
        }
        if writes.is_empty() {
            self.show_proof(site);
            self.perform(site, acts);
            return self.rearm_site(site);
        }
        process.committing = true;
        if early {
            self.perform(site, acts);
        } else {
            process.held_back = acts;
        }
        self.commit(site, writes, Waiter::Driver);
        if self.site_dies(site, Point::Written) {
            self.crash_site(site);
        }
    }

    fn synced_site(&mut self, site: usize) {
        let waiter = self.process(site).and_then(|process| process.syncing.pop_front());
        let Some(waiter) = waiter else { return };
        self.journal_synced(site);
        if self.site_dies(site, Point::Synced) {
            return self.crash_site(site);
        }
        match waiter {
            Waiter::Driver => {
                let Some(process) = self.process(site) else { return };
                process.committing = false;
                let shown =
                    Shown { last_seq: process.ledger.chain.next_seq - 1, held: process.agent.held().mark };
                let acts = std::mem::take(&mut process.held_back);
                let before = std::mem::replace(&mut process.shown, shown);
                self.perform(site, acts);
                if before.held != shown.held {
                    self.site_after(site, 1, SiteJob::Mirror);
                }
                if before != shown {
                    self.outbox_shown(site);
                }
                self.show_proof(site);
                self.rearm_site(site);
            }
            Waiter::Outbox => self.outbox_receipted(site),
            Waiter::Load(ask) => self.unpack(site, ask),
        }
    }

    /// Acts begin, each for itself: a crash may come between any two.
    fn perform(&mut self, site: usize, acts: Vec<(Mark, Act)>) {
        for (under, act) in acts {
            if let Act::Watch(kinds) = act {
                self.watch(site, kinds);
                continue;
            }
            if let Act::Instance { app, effect: Effect::Delete { key, .. } } = &act {
                self.may_delete(site, under, app, key);
            }
            let pause = self.random.below(5);
            if let Some(process) = self.process(site) {
                process.acts += 1;
            }
            self.site_after(site, pause, SiteJob::Act(Box::new(act)));
        }
    }

    fn begin(&mut self, site: usize, act: Act) {
        let Act::Instance { app, effect } = act else { return };
        if let Some(process) = self.process(site) {
            process.acts -= 1;
        }
        match effect {
            Effect::Load { run, entry, recall } => {
                let pause = self.random.between(1, 40);
                self.site_after(
                    site,
                    pause,
                    SiteJob::Fetched(Ask { app, run, recall, entry: Box::new(entry) }),
                );
            }
            effect => self.request(site, app, effect),
        }
        let more = self.process(site).is_some_and(|process| process.acts > 0);
        if more && self.site_dies(site, Point::FirstOutput) {
            self.crash_site(site);
        }
    }
}

impl Process {
    /// The objects of an inventory that changed.
    fn rows(&self, app: &AppId, keys: &BTreeSet<Key>) -> Vec<Write> {
        let Some(instance) = self.agent.instance(app) else { return Vec::new() };
        let row = |key| {
            let item = instance.items.get(key).map(|item| encoding::encode_item(key, item).into());
            Write::Item(app.to_string(), encoding::name_of(key), item)
        };
        keys.iter().map(row).collect()
    }

    /// Bundles that neither the index nor what is applied names.
    fn unneeded(&mut self) -> Write {
        let mut needed = BTreeSet::new();
        for (_, instance) in self.agent.instances() {
            needed.insert(instance.entry.digest);
            needed.extend(instance.applied.map(|(_, digest)| digest));
        }
        let held = std::mem::replace(&mut self.bundles, needed.clone());
        Write::Unneeded(held.difference(&needed).copied().collect())
    }

    /// Nothing waits in the process.
    pub(crate) fn rests(&self) -> bool {
        self.queue.is_empty() && !self.committing && self.acts == 0 && self.syncing.is_empty()
    }

    /// The index in force.
    pub(crate) fn index(&self) -> Option<&Index> {
        self.agent.held().index.as_ref()
    }
}
