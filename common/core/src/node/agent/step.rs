//! The step: one input in, facts, journal writes and effects out.

use super::input::{Act, Held, Input, Outputs, Stored};
use crate::desired::{self, Entry, Index, Permit, Standing, Verdict};
use crate::digest::Digest;
use crate::event::agent::{AgentFact, Refusal};
use crate::event::{Actor, AgentEvent, Context};
use crate::id::AppId;
use crate::object::Key;
use crate::sync::{Instance, Kinds, Limits, Member, Object, Older, Recalled, Step, Taken};
use crate::time::{At, Span};
use crate::timers::Timers;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Refusals of one kind are stated no more often than this, so that a flood of bad indexes cannot fill the outbox.
const REFUSAL_EVERY: Span = Span::secs(10);

/// Kinds notice one after the other that the cluster was restored; within this time it is the same restore.
const BACK_EVERY: Span = Span::secs(60);

/// The agent.
#[derive(Clone, Debug)]
pub struct Agent {
    limits: Limits,
    held: Held,
    /// An index of a restored hub that waits for the adoption.
    waiting: Option<Held>,
    known: BTreeMap<AppId, Stored>,
    instances: BTreeMap<AppId, Instance>,
    owners: BTreeMap<Key, AppId>,
    /// Kinds of the inventories, with the number of their objects.
    kinds: BTreeMap<(String, String, String), usize>,
    watched: Kinds,
    /// Watched kinds of which everything was shown.
    listed: Arc<Kinds>,
    wakes: Timers<AppId>,
    /// What a journal was not told of apps that left the index.
    unsaved: BTreeMap<AppId, BTreeSet<Key>>,
    /// Withdrawals that were carried out and that the index still names, by the mark of their entry.
    gone: BTreeMap<AppId, desired::Mark>,
    refused: BTreeMap<Refusal, (desired::Mark, At)>,
    last_run: u64,
    /// The epoch in which two indexes of one mark were seen.
    stopped: Option<u64>,
    rewatch: bool,
    /// When the cluster was last seen to have gone back, and how often it was.
    back_at: Option<At>,
    times_back: u64,
    out: Outputs,
}

impl Agent {
    /// An agent over what its journal holds.
    pub fn new(held: Held, stored: BTreeMap<AppId, Stored>, limits: Limits) -> Agent {
        Agent {
            limits,
            held,
            waiting: None,
            known: stored,
            instances: BTreeMap::new(),
            owners: BTreeMap::new(),
            kinds: BTreeMap::new(),
            watched: BTreeSet::new(),
            listed: Arc::default(),
            wakes: Timers::default(),
            unsaved: BTreeMap::new(),
            gone: BTreeMap::new(),
            refused: BTreeMap::new(),
            last_run: 0,
            stopped: None,
            rewatch: false,
            back_at: None,
            times_back: 0,
            out: Outputs::default(),
        }
    }

    /// The same agent with what else its journal holds: an index that waits, and the epoch in which changes stopped.
    #[must_use]
    pub fn resuming(self, waiting: Option<Held>, stopped: Option<u64>) -> Agent {
        Agent { waiting, stopped, ..self }
    }

    /// The index of a restored hub that waits for the adoption, if one does.
    pub fn waiting(&self) -> Option<&Held> {
        self.waiting.as_ref()
    }

    /// The index in force and its mark.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// How often the cluster was restored under this process: what it keeps in it may have gone each time.
    pub fn times_back(&self) -> u64 {
        self.times_back
    }

    /// One instance.
    pub fn instance(&self, app: &AppId) -> Option<&Instance> {
        self.instances.get(app)
    }

    /// All instances.
    pub fn instances(&self) -> impl Iterator<Item = (&AppId, &Instance)> {
        self.instances.iter()
    }

    /// When `Wake` is due: the only timer.
    pub fn next_wake(&self) -> Option<At> {
        self.wakes.first()
    }

    /// Takes one input.
    pub fn step(&mut self, input: Input, at: At) -> Outputs {
        self.out = Outputs::default();
        let touched = self.take(input, at);
        match touched {
            Touched::None => {}
            Touched::One(app) => self.collect(&app),
            Touched::Some(apps) => self.collect_all(&apps),
            Touched::All => {
                let apps: Vec<AppId> = self.instances.keys().cloned().collect();
                self.collect_all(&apps);
            }
        }
        self.watch();
        core::mem::take(&mut self.out)
    }

    fn take(&mut self, input: Input, at: At) -> Touched {
        match input {
            Input::Started { version, kubernetes, journal } => {
                self.state(None, None, AgentFact::Started { version, kubernetes, journal }, at);
                self.out.prove = self.waiting.is_some();
                if let Some(index) = self.held.index.clone() {
                    self.follow(&index, at);
                }
                Touched::All
            }
            Input::Index { index, digest, permit } => self.index(index, digest, permit, at),
            Input::BadIndex { mark, reason } => {
                self.refuse(mark, reason, at);
                Touched::None
            }
            Input::Loaded { app, run, objects, recalled } => self.loaded(app, run, objects, recalled, at),
            Input::Stored { app, run, outcome } => self.with(app, |it, _| it.stored(run, outcome, at)),
            Input::NamespaceEnsured { app, run, problem } => {
                self.with(app, |it, _| it.namespace_ensured(run, problem, at))
            }
            Input::Applied { app, run, object, commit, outcome } => {
                self.with(app, |it, _| it.applied(run, &object, &commit, outcome, at))
            }
            Input::Deleted { app, run, key, outcome } => {
                self.with(app, |it, _| it.deleted(run, &key, outcome, at))
            }
            Input::Inspected { app, key, against, outcome } => {
                self.with(app, |it, _| it.inspected(&key, against, outcome, at))
            }
            Input::Seen { key, fingerprint } => {
                let Some(app) = self.owners.get(&key).cloned() else { return Touched::None };
                self.with(app, |it, _| it.seen(&key, fingerprint, at))
            }
            Input::Gone { key } => {
                let Some(app) = self.owners.get(&key).cloned() else { return Touched::None };
                self.with(app, |it, _| it.vanished(&key, at))
            }
            Input::Listed { kind, served } => self.listed(kind, served, at),
            Input::WentBack { kind, was, is } => self.counted_back(&kind, (was, is), at),
            Input::Wake => {
                let mut due = Vec::new();
                while let Some(app) = self.wakes.pop_due(at) {
                    due.push(app);
                }
                for app in &due {
                    if let Some(instance) = self.instances.get_mut(app) {
                        instance.wake(at);
                    }
                }
                Touched::Some(due)
            }
        }
    }

    fn with(
        &mut self,
        app: AppId,
        change: impl FnOnce(&mut Instance, &dyn Fn(&[Object]) -> BTreeMap<Key, String>),
    ) -> Touched {
        let owners = &self.owners;
        let shared = |objects: &[Object]| {
            let other = |key: &Key| owners.get(key).filter(|owner| **owner != app).map(AppId::to_string);
            objects.iter().filter_map(|object| Some((object.key.clone(), other(&object.key)?))).collect()
        };
        let Some(instance) = self.instances.get_mut(&app) else { return Touched::None };
        change(instance, &shared);
        Touched::One(app)
    }

    fn loaded(
        &mut self,
        app: AppId,
        run: u64,
        objects: Result<Vec<Object>, String>,
        mut recalled: Recalled,
        at: At,
    ) -> Touched {
        let other = |key: &Key| self.owners.get(key).is_some_and(|owner| *owner != app);
        recalled.strays.retain(|stray| !other(&stray.key));
        self.with(app, |instance, shared| match objects {
            Ok(objects) => {
                let shared = shared(&objects);
                instance.loaded(run, objects, recalled, &shared, at);
            }
            Err(message) => instance.not_loaded(run, message, at),
        })
    }

    /// The API server has counted back for a kind: what was seen of it is forgotten, and all is gone through again.
    fn counted_back(&mut self, kind: &(String, String, String), (was, is): (u64, u64), at: At) -> Touched {
        Arc::make_mut(&mut self.listed).retain(|known| (&known.0, &known.2) != (&kind.0, &kind.2));
        let listed = &self.listed;
        self.instances.values_mut().for_each(|instance| instance.forget_seen(kind, listed));
        if !self.went_back(was, is, at) {
            return Touched::None;
        }
        self.instances.values_mut().for_each(|instance| instance.went_back(at));
        Touched::All
    }

    fn standing(&self) -> Standing {
        let latest = self.waiting.as_ref().unwrap_or(&self.held);
        Standing { force: self.held.mark, latest: latest.mark, digest: latest.digest }
    }

    fn listed(&mut self, kind: (String, String, String), served: bool, at: At) -> Touched {
        if !self.watched.contains(&kind) {
            return Touched::None;
        }
        let hides = self
            .instances
            .iter_mut()
            .filter_map(|(app, it)| it.relisted(&kind, served, at).then(|| app.clone()));
        let hiding: Vec<AppId> = hides.collect();
        if !Arc::make_mut(&mut self.listed).insert(kind) {
            return Touched::Some(hiding);
        }
        let listed = &self.listed;
        self.instances.values_mut().for_each(|instance| instance.listed(listed, at));
        Touched::All
    }

    /// The cluster is as it was at an earlier time; `false` if that was stated just now: each kind notices by itself.
    fn went_back(&mut self, was: u64, is: u64, at: At) -> bool {
        if self.back_at.is_some_and(|last| at.since(last) < BACK_EVERY) {
            return false;
        }
        self.back_at = Some(at);
        self.times_back += 1;
        self.state(None, None, AgentFact::ClusterWentBack { was, is }, at);
        true
    }

    /// Judges an index against the one held (table in design, section 9).
    fn index(&mut self, index: Index, digest: Digest, permit: Permit, at: At) -> Touched {
        let mark = index.mark;
        match desired::judge(&self.standing(), mark, digest, permit) {
            Verdict::Same => Touched::None,
            Verdict::Refuse(reason) => {
                if reason == Refusal::Equivocation && self.stopped != Some(mark.epoch) {
                    self.stopped = Some(mark.epoch);
                    self.out.stopped = self.stopped;
                }
                // Said once per mark: a hub that is behind is shown what it signed.
                self.out.prove = self.refuse(mark, reason, at) && reason == Refusal::Lower;
                Touched::None
            }
            Verdict::Take | Verdict::Hold if self.stopped.is_some_and(|epoch| mark.epoch <= epoch) => {
                Touched::None
            }
            Verdict::Hold => {
                self.waiting = Some(Held { mark, digest: Some(digest), index: Some(index) });
                self.instances.values_mut().for_each(Instance::hold);
                self.out.kept_index = true;
                self.out.prove = true;
                Touched::All
            }
            Verdict::Take => {
                let adopted = permit == Permit::Adopted && mark.epoch > self.held.mark.epoch;
                self.waiting = None;
                if adopted {
                    // A restored log may not know that they are gone: each is confirmed again.
                    self.gone.clear();
                }
                self.follow(&index, at);
                if adopted {
                    self.instances.values_mut().for_each(|instance| instance.release(at));
                }
                self.held = Held { mark, digest: Some(digest), index: Some(index) };
                self.out.took_index = true;
                Touched::All
            }
        }
    }

    /// States a refusal; `false` if it was stated already, or another of its kind just now.
    fn refuse(&mut self, mark: desired::Mark, reason: Refusal, at: At) -> bool {
        let known = self.refused.get(&reason);
        if known.is_some_and(|(of, last)| *of == mark || at.since(*last) < REFUSAL_EVERY) {
            return false;
        }
        self.refused.insert(reason, (mark, at));
        self.state(None, None, AgentFact::IndexRefused { mark, reason }, at);
        true
    }

    /// Brings instances in line with an index. An app that is absent keeps its objects and is no longer acted on.
    fn follow(&mut self, index: &Index, at: At) {
        let absent: Vec<AppId> =
            self.instances.keys().filter(|app| !index.entries.contains_key(*app)).cloned().collect();
        self.gone.retain(|app, _| index.entries.contains_key(app));
        for app in absent {
            if let Some(instance) = self.leave(&app) {
                self.unsaved.insert(app.clone(), instance.unsaved().clone());
                let Instance { items, applied, stated, .. } = instance;
                self.known.insert(app, Stored { items, applied, stated });
            }
        }
        for (app, entry) in &index.entries {
            match self.instances.get_mut(app) {
                Some(instance) => instance.ordered(entry.clone(), at),
                None if self.gone.get(app) == Some(&entry.since) => {}
                None => self.enter(app, entry, at),
            }
        }
    }

    /// Stops acting on an app. What is still in flight for it must not be taken for an answer to whoever comes after it.
    fn leave(&mut self, app: &AppId) -> Option<Instance> {
        let instance = self.instances.remove(app)?;
        self.last_run = self.last_run.max(instance.run());
        self.wakes.remove(app);
        for (key, item) in &instance.items {
            self.member(app, key, Some(&item.version), None);
        }
        Some(instance)
    }

    fn enter(&mut self, app: &AppId, entry: &Entry, at: At) {
        let known = self.known.remove(app);
        let (items, applied, stated) = match known {
            Some(stored) => (stored.items, stored.applied, stored.stated),
            None => (BTreeMap::new(), None, None),
        };
        // What another app took over while this one was away is not ours to prune.
        let others = |key: &Key| self.owners.get(key).is_some_and(|owner| owner != app);
        let (lost, items): (BTreeMap<_, _>, BTreeMap<_, _>) =
            items.into_iter().partition(|(key, _)| others(key));
        let mut instance = Instance::new(entry.clone(), items, applied, stated, self.limits);
        instance.touch(self.unsaved.remove(app).unwrap_or_default());
        instance.touch(lost.into_keys().collect());
        if self.waiting.is_some() {
            instance.hold();
        }
        instance.runs_after(self.last_run);
        instance.listed(&self.listed, at);
        instance.begin(at);
        for (key, item) in &instance.items {
            self.member(app, key, None, Some(&item.version));
        }
        self.instances.insert(app.clone(), instance);
    }

    fn collect_all(&mut self, apps: &[AppId]) {
        for app in apps {
            self.collect(app);
        }
    }

    /// Gathers what an instance stated and asks for, and keeps owners, kinds and timers right.
    fn collect(&mut self, app: &AppId) {
        let Some(instance) = self.instances.get_mut(app) else { return };
        let Taken { facts, effects, dirty, touched, members, older } = instance.take();
        let entry = instance.entry.clone();
        let gone = instance.step() == Step::Gone;
        self.wakes.set(app, instance.next_wake());
        if dirty {
            self.out.dirty.insert(app.clone());
        }
        if !touched.is_empty() {
            self.out.items.entry(app.clone()).or_default().extend(touched);
        }
        for Member { key, was, is } in members {
            self.member(app, &key, was.as_ref(), is.as_ref());
        }
        if let Some(Older { was, is, at }) = older {
            self.went_back(was, is, at);
        }
        for (fact, at) in facts {
            self.state(Some(app), Some(&entry), fact, at);
        }
        for effect in effects {
            self.out.acts.push(Act::Instance { app: app.clone(), effect });
        }
        if gone {
            self.leave(app);
            self.out.dirty.remove(app);
            self.out.items.remove(app);
            self.gone.insert(app.clone(), entry.since);
            self.out.gone.push(app.clone());
        }
    }

    /// An object entered an inventory, left it, or is watched in another version.
    fn member(&mut self, app: &AppId, key: &Key, was: Option<&String>, is: Option<&String>) {
        let kind = |version: &String| (key.group.clone(), version.clone(), key.kind.clone());
        if let Some(version) = is {
            self.owners.entry(key.clone()).or_insert_with(|| app.clone());
            let count = self.kinds.entry(kind(version)).or_default();
            *count += 1;
            self.rewatch |= *count == 1;
        } else if self.owners.get(key) == Some(app) {
            self.owners.remove(key);
        }
        if let Some(version) = was
            && let Some(count) = self.kinds.get_mut(&kind(version))
        {
            *count -= 1;
            if *count == 0 {
                self.kinds.remove(&kind(version));
                self.rewatch = true;
            }
        }
    }

    fn state(&mut self, app: Option<&AppId>, entry: Option<&Entry>, fact: AgentFact, at: At) {
        let mut context = Context::new(Actor::Agent, at);
        context.app = app.cloned();
        if let Some(entry) = entry {
            context.commit = Some(entry.commit.clone());
            context.trace.clone_from(&entry.trace);
        }
        self.out.facts.push(AgentEvent { context, fact });
    }

    fn watch(&mut self) {
        if !core::mem::take(&mut self.rewatch) {
            return;
        }
        let kinds: Kinds = self.kinds.keys().cloned().collect();
        if kinds != self.watched {
            Arc::make_mut(&mut self.listed).retain(|kind| kinds.contains(kind));
            self.watched.clone_from(&kinds);
            self.out.acts.push(Act::Watch(kinds));
        }
    }

    /// The oracle: what is kept as sums, timers and owners is what a scan of everything finds.
    ///
    /// # Errors
    /// A sentence that names what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let (mut kinds, mut owners, mut wakes) = (BTreeMap::new(), BTreeMap::new(), Timers::default());
        for (app, instance) in &self.instances {
            instance.check()?;
            wakes.set(app, instance.next_wake());
            for (key, item) in &instance.items {
                let kind = (key.group.clone(), item.version.clone(), key.kind.clone());
                *kinds.entry(kind).or_insert(0) += 1;
                owners.insert(key.clone(), app.clone());
            }
        }
        let watched = self.kinds.keys().eq(self.watched.iter());
        if kinds != self.kinds || !watched {
            return Err(format!("{:?} is {kinds:?}", self.kinds));
        }
        if wakes != self.wakes || owners != self.owners {
            return Err(format!("timers are {wakes:?}, owners are {owners:?}"));
        }
        Ok(())
    }
}

enum Touched {
    None,
    One(AppId),
    Some(Vec<AppId>),
    All,
}
