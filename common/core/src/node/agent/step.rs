//! The step: one input in, facts, journal writes and effects out.

use super::input::{Act, Held, Input, Outputs, Stored};
use crate::desired::{self, Entry, Index, Permit, Standing, Verdict};
use crate::digest::Digest;
use crate::event::agent::{AgentFact, Refusal};
use crate::event::{Actor, AgentEvent, Context};
use crate::id::AppId;
use crate::object::Key;
use crate::sync::{Instance, Limits, Object, Step, Taken};
use crate::time::{At, Span};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Refusals of one kind are stated no more often than this, so that a flood of bad indexes cannot fill the outbox.
const REFUSAL_EVERY: Span = Span::secs(10);

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
    watched: BTreeSet<(String, String, String)>,
    /// Withdrawals that were carried out and that the index still names, by the mark of their entry.
    gone: BTreeMap<AppId, desired::Mark>,
    refused: BTreeMap<Refusal, (desired::Mark, At)>,
    last_run: u64,
    /// The epoch in which two indexes of one mark were seen.
    stopped: Option<u64>,
    rewatch: bool,
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
            watched: BTreeSet::new(),
            gone: BTreeMap::new(),
            refused: BTreeMap::new(),
            last_run: 0,
            stopped: None,
            rewatch: false,
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
        self.instances.values().filter_map(Instance::next_wake).min()
    }

    /// Takes one input.
    pub fn step(&mut self, input: Input, at: At) -> Outputs {
        self.out = Outputs::default();
        let touched = self.take(input, at);
        match touched {
            Touched::None => {}
            Touched::One(app) => self.collect(&app),
            Touched::All => {
                let apps: Vec<AppId> = self.instances.keys().cloned().collect();
                for app in &apps {
                    self.collect(app);
                }
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
            Input::Loaded { app, run, objects } => self.with(app, |instance, shared| match objects {
                Ok(objects) => {
                    let shared = shared(&objects);
                    instance.loaded(run, objects, &shared, at);
                }
                Err(message) => instance.not_loaded(run, message, at),
            }),
            Input::Stored { app, run, problem } => self.with(app, |it, _| it.stored(run, problem, at)),
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
            Input::Wake => {
                let due = |instance: &Instance| instance.next_wake().is_some_and(|due| due <= at);
                self.instances.values_mut().filter(|it| due(it)).for_each(|it| it.wake(at));
                Touched::All
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

    fn standing(&self) -> Standing {
        let latest = self.waiting.as_ref().unwrap_or(&self.held);
        Standing { force: self.held.mark, latest: latest.mark, digest: latest.digest }
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
            if let Some(Instance { items, applied, stated, .. }) = self.leave(&app) {
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
        self.owners.retain(|_, owner| owner != app);
        self.rewatch = true;
        Some(instance)
    }

    fn enter(&mut self, app: &AppId, entry: &Entry, at: At) {
        let known = self.known.remove(app);
        let (items, applied, stated) = match known {
            Some(stored) => (stored.items, stored.applied, stored.stated),
            None => (BTreeMap::new(), None, None),
        };
        // What another app took over while this one was away is not ours to prune.
        let items =
            items.into_iter().filter(|(key, _)| self.owners.get(key).is_none_or(|owner| owner == app));
        let items = items.collect();
        let mut instance = Instance::new(entry.clone(), items, applied, stated, self.limits);
        if self.waiting.is_some() {
            instance.hold();
        }
        instance.runs_after(self.last_run);
        instance.begin(at);
        self.instances.insert(app.clone(), instance);
    }

    /// Gathers what an instance stated and asks for, and keeps the map of owners right.
    fn collect(&mut self, app: &AppId) {
        let Some(instance) = self.instances.get_mut(app) else { return };
        let Taken { facts, effects, dirty, members_changed } = instance.take();
        let entry = instance.entry.clone();
        let gone = instance.step() == Step::Gone;
        if dirty {
            self.out.dirty.insert(app.clone());
        }
        if members_changed {
            self.own(app);
            self.rewatch = true;
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
            self.gone.insert(app.clone(), entry.since);
            self.out.gone.push(app.clone());
        }
    }

    fn own(&mut self, app: &AppId) {
        let Some(instance) = self.instances.get(app) else { return };
        self.owners.retain(|key, owner| owner != app || instance.items.contains_key(key));
        for key in instance.items.keys() {
            if !self.owners.contains_key(key) {
                self.owners.insert(key.clone(), app.clone());
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
        let kinds = self.instances.values().flat_map(|instance| {
            instance
                .items
                .iter()
                .map(|(key, item)| (key.group.clone(), item.version.clone(), key.kind.clone()))
        });
        let kinds: BTreeSet<(String, String, String)> = kinds.collect();
        if kinds != self.watched {
            self.watched.clone_from(&kinds);
            self.out.acts.push(Act::Watch(kinds));
        }
    }
}

enum Touched {
    None,
    One(AppId),
    All,
}
