//! The way of an entry: load, guard, store, apply, settle, prune; or withdraw.

use super::ports::{Applied, Deleted, Effect, Object, Problem};
use super::state::{Instance, Item, Step};
use crate::desired::{Entry, Withdrawal};
use crate::digest::Digest;
use crate::event::AgentFact;
use crate::event::agent::Trouble;
use crate::health::Health;
use crate::object::Key;
use crate::object::order::{Stage, for_prune, is_protected, stage};
use crate::reconcile::{plan, prune};
use crate::time::{At, Span};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// First pause before a failed sync is tried again; doubles up to [`RETRY_MAX`] (Argo CD waits 5 s to 3 min).
const RETRY_MIN: Span = Span::secs(2);

/// Longest pause before a failed sync is tried again.
const RETRY_MAX: Span = Span::secs(180);

/// Pause between looks at an object whose deletion waits for finalizers.
const DELETING_EVERY: Span = Span::secs(2);

/// An object that was applied is looked at after this time, once its controller had a moment.
const FIRST_LOOK: Span = Span(50);

impl Instance {
    /// Begins, or begins again, with the entry in force.
    pub fn begin(&mut self, at: At) {
        self.run += 1;
        self.draining = !self.in_flight.is_empty();
        self.waiting = false;
        self.retry_at = None;
        self.settle_by = None;
        self.stages.clear();
        self.problems.clear();
        self.trouble = None;
        self.drop_objects();
        if self.entry.withdrawn.is_some() {
            self.step = Step::Withdrawing;
            self.withdraw(at);
        } else {
            self.step = Step::Loading;
            self.load();
        }
        self.restate(at);
    }

    /// Takes the entry of a newer index. Pre-empts whatever is going on if it asks for something else.
    pub fn ordered(&mut self, entry: Entry, at: At) {
        if entry == self.entry {
            return;
        }
        self.entry = entry;
        self.dirty = true;
        self.attempt = 0;
        self.begin(at);
    }

    fn load(&mut self) {
        self.waiting = true;
        self.effects.push(Effect::Load { run: self.run, entry: self.entry.clone() });
    }

    pub(super) fn drop_objects(&mut self) {
        self.objects.clear();
        self.holds_objects = false;
    }

    /// The bundle's objects arrived. `shared` names objects that another app owns.
    pub fn loaded(&mut self, run: u64, objects: Vec<Object>, shared: &BTreeMap<Key, String>, at: At) {
        if run != self.run {
            return;
        }
        self.waiting = false;
        self.objects = objects.into_iter().map(|object| (object.key.clone(), object)).collect();
        self.holds_objects = true;
        if self.step == Step::Resting {
            self.pursue_drifts(at);
            return;
        }
        for (key, owner) in shared {
            if self.objects.remove(key).is_some() {
                let message = alloc::format!("app {owner} has this object already");
                self.problems.insert(key.clone(), Problem { cause: None, message });
            }
        }
        self.guard(at);
    }

    /// The bundle could not be had for now.
    pub fn not_loaded(&mut self, run: u64, message: String, at: At) {
        if run == self.run {
            self.waiting = false;
            self.trouble = Some(message);
            self.pause(at);
            self.restate(at);
        }
    }

    fn guard(&mut self, at: At) {
        let left = self.left();
        let counted = left.iter().filter(|key| !self.items[*key].keep).count();
        if let Some(why) = prune::guard(&self.entry, self.items.len(), self.objects.len(), counted) {
            self.step = Step::Parked;
            self.trouble = Some(why);
            self.leaving = left;
            self.drop_objects();
            self.restate(at);
            return;
        }
        self.leaving = left;
        let unchanged = self.objects.keys().all(|key| self.items.contains_key(key));
        for (key, object) in &self.objects {
            let version = object.version.clone();
            let commit = self.entry.commit.clone();
            let fresh = Item {
                version,
                content: Digest::default(),
                commit,
                uid: String::new(),
                owned: 0,
                keep: false,
            };
            self.items.entry(key.clone()).or_insert(fresh);
        }
        self.members_changed = true;
        self.stages = plan::stages(self.objects.keys());
        self.stages.reverse();
        self.dirty = true;
        if unchanged && self.applied.is_some() {
            self.start_applying(at);
            return;
        }
        self.step = Step::Storing;
        self.waiting = true;
        let keys = self.items.iter().map(|(key, item)| (key.clone(), item.version.clone())).collect();
        self.effects.push(Effect::Store { run: self.run, keys });
        self.restate(at);
    }

    /// Objects of the inventory that are not in the bundle.
    fn left(&self) -> Vec<Key> {
        let here = |key: &&Key| !self.objects.contains_key(*key) && !self.problems.contains_key(*key);
        self.items.keys().filter(here).cloned().collect()
    }

    /// The inventory stands in the cluster, or could not be written.
    pub fn stored(&mut self, run: u64, problem: Option<Problem>, at: At) {
        if run != self.run || self.step != Step::Storing {
            return;
        }
        self.waiting = false;
        match problem {
            None => self.start_applying(at),
            Some(problem) => {
                self.trouble = Some(problem.message);
                self.pause(at);
                self.restate(at);
            }
        }
    }

    fn start_applying(&mut self, at: At) {
        self.step = Step::Applying;
        let policy = &self.entry.policy;
        if policy.create_namespace && !policy.namespace.is_empty() {
            self.waiting = true;
            let namespace = policy.namespace.clone();
            self.effects.push(Effect::EnsureNamespace { run: self.run, namespace });
        }
        self.advance(at);
        self.restate(at);
    }

    /// The destination namespace is there, or could not be made.
    pub fn namespace_ensured(&mut self, run: u64, problem: Option<Problem>, at: At) {
        if run != self.run {
            return;
        }
        self.waiting = false;
        self.trouble = problem.map(|problem| problem.message);
        self.advance(at);
        self.restate(at);
    }

    /// Starts what may start: up to the limit of requests in flight, stage after stage.
    pub(super) fn advance(&mut self, at: At) {
        self.draining &= !self.in_flight.is_empty();
        while self.step == Step::Applying && !self.waiting && !self.draining {
            let Some(stage_keys) = self.stages.last_mut() else {
                if self.in_flight.is_empty() {
                    self.applied_all(at);
                }
                return;
            };
            if let Some(key) = stage_keys.first().cloned() {
                if self.in_flight.len() >= self.limits.in_flight {
                    return;
                }
                stage_keys.remove(0);
                self.apply(&key, at);
            } else if self.in_flight.is_empty() && self.stage_is_ready() {
                self.stages.pop();
            } else {
                return;
            }
        }
    }

    /// Definitions must be established before objects of their kinds are applied; a failed one does not hold the rest.
    fn stage_is_ready(&self) -> bool {
        self.objects.keys().filter(|key| stage(&key.group, &key.kind) == Stage::Definitions).all(|key| {
            self.problems.contains_key(key)
                || self.health.get(key).is_none_or(|judged| judged.health != Health::Progressing)
        })
    }

    /// Applies one object unless it is known to be as wanted: untouched objects are not written.
    fn apply(&mut self, key: &Key, at: At) {
        let (Some(object), Some(item)) = (self.objects.get(key), self.items.get_mut(key)) else { return };
        let as_wanted = item.content == object.content
            && self.live.get(key).is_some_and(|live| live.owned == item.owned && !live.deleting)
            && !self.drifts.contains_key(key);
        if as_wanted {
            if !self.health.contains_key(key) {
                self.inspect_at.insert(key.clone(), at);
            }
            return;
        }
        let commit =
            if item.content == object.content { item.commit.clone() } else { self.entry.commit.clone() };
        let look_first = self.drifts.contains_key(key);
        self.in_flight.insert(key.clone());
        let object = object.clone();
        self.effects.push(Effect::Apply { run: self.run, object, commit, look_first });
    }

    /// An object was applied, or could not be.
    pub fn applied(
        &mut self,
        run: u64,
        object: &Object,
        commit: &crate::id::CommitId,
        outcome: Result<Applied, Problem>,
        at: At,
    ) {
        let key = &object.key;
        self.in_flight.remove(key);
        match outcome {
            Ok(applied) => {
                self.problems.remove(key);
                if let Some(item) = self.items.get_mut(key) {
                    item.version.clone_from(&object.version);
                    item.content = object.content;
                    item.commit = commit.clone();
                    item.uid.clone_from(&applied.fingerprint.uid);
                    item.owned = applied.fingerprint.owned;
                    item.keep = object.keep;
                    self.dirty = true;
                }
                self.live.insert(key.clone(), applied.fingerprint);
                if applied.judgement.counted {
                    self.inspect_at.insert(key.clone(), at.plus(FIRST_LOOK));
                }
                self.judged(key, applied.judgement, at);
                self.after_apply(key, &applied.taken, at);
            }
            Err(problem) if run == self.run || self.drifts.contains_key(key) => {
                self.not_healed(key, at);
                self.problems.insert(key.clone(), problem);
                if self.step == Step::Resting {
                    self.pause(at);
                }
            }
            Err(_) => {}
        }
        self.advance(at);
        self.release_objects();
        self.restate(at);
    }

    /// Everything was tried. What failed is tried again with back-off; health is waited for before anything is deleted.
    fn applied_all(&mut self, at: At) {
        if !self.problems.is_empty() {
            self.pause(at);
            return;
        }
        self.attempt = 0;
        self.applied = Some((self.entry.since, self.entry.digest));
        self.dirty = true;
        self.step = Step::Settling;
        self.settle_by = Some(at.plus(self.limits.health_timeout));
        self.settle(at);
    }

    /// Goes on to pruning once the workloads of the new state are healthy.
    pub(super) fn settle(&mut self, at: At) {
        if self.step != Step::Settling {
            return;
        }
        let pending = self.objects_pending();
        if self.fate().delete.is_empty() {
            self.rest(at);
        } else if pending == 0 {
            self.settle_by = None;
            self.step = Step::Pruning;
            self.prune(at);
        }
    }

    /// Workloads of the bundle that are not healthy. Addresses of services or ingresses are not waited for.
    pub(super) fn objects_pending(&self) -> usize {
        let left = |key: &Key| self.leaving.contains(key);
        let waits = |key: &&Key| plan::is_waited_for(key) && !left(key);
        let healthy = |key: &Key| {
            self.health
                .get(key)
                .is_some_and(|judged| matches!(judged.health, Health::Healthy | Health::Suspended))
        };
        self.items.keys().filter(waits).filter(|key| !healthy(key)).count()
    }

    /// What becomes of the objects that left the bundle.
    pub(super) fn fate(&self) -> prune::Fate {
        prune::fate(&self.entry, self.leaving.clone(), |key| {
            self.items.get(key).is_some_and(|item| item.keep)
        })
    }

    pub(super) fn prune(&mut self, at: At) {
        let due = self.fate().delete;
        if due.is_empty() && self.in_flight.is_empty() {
            if !self.deleted.is_empty() {
                let objects = core::mem::take(&mut self.deleted);
                self.facts.push((AgentFact::Pruned { objects }, at));
            }
            let keys = self.items.iter().map(|(key, item)| (key.clone(), item.version.clone())).collect();
            self.effects.push(Effect::Store { run: self.run, keys });
            self.rest(at);
            return;
        }
        self.delete_some(due);
    }

    fn delete_some(&mut self, due: Vec<Key>) {
        for key in due {
            if self.in_flight.len() >= self.limits.in_flight {
                return;
            }
            let pending = self.live.get(&key).is_some_and(|live| live.deleting);
            let Some(item) = self.items.get(&key) else { continue };
            if pending || self.problems.contains_key(&key) || !self.in_flight.insert(key.clone()) {
                continue;
            }
            let (version, uid) = (item.version.clone(), item.uid.clone());
            self.effects.push(Effect::Delete { run: self.run, key, version, uid });
        }
    }

    /// A deletion was answered.
    pub fn deleted(&mut self, run: u64, key: &Key, outcome: Result<Deleted, Problem>, at: At) {
        self.in_flight.remove(key);
        match outcome {
            Ok(Deleted::Gone) => self.removed(key),
            Ok(Deleted::Pending) => {
                self.live.entry(key.clone()).or_default().deleting = true;
                self.inspect_at.insert(key.clone(), at.plus(DELETING_EVERY));
            }
            Err(problem) => {
                self.problems.insert(key.clone(), problem);
                self.pause(at);
            }
        }
        if run == self.run {
            self.go_on_deleting(at);
        }
        self.restate(at);
    }

    pub(super) fn go_on_deleting(&mut self, at: At) {
        match self.step {
            Step::Pruning => self.prune(at),
            Step::Withdrawing => self.withdraw(at),
            _ => {}
        }
    }

    /// An object that was to go is gone.
    pub(super) fn removed(&mut self, key: &Key) {
        if self.items.remove(key).is_some() {
            self.deleted.push(key.clone());
            self.members_changed = true;
            self.dirty = true;
        }
        self.leaving.retain(|left| left != key);
        self.live.remove(key);
        self.health.remove(key);
        self.inspect_at.remove(key);
        self.drifts.remove(key);
        self.problems.remove(key);
        self.fights.forget(core::slice::from_ref(key));
    }

    pub(super) fn rest(&mut self, at: At) {
        self.step = Step::Resting;
        self.settle_by = None;
        if self.objects_pending() > 0 {
            self.settle_by = Some(at.plus(self.limits.health_timeout));
        }
        self.release_objects();
        self.pursue_drifts(at);
    }

    /// Objects are kept in memory only while something is to be done with them.
    pub(super) fn release_objects(&mut self) {
        if self.step == Step::Resting && self.in_flight.is_empty() && self.drifts.is_empty() {
            self.drop_objects();
        }
    }

    fn withdraw(&mut self, at: At) {
        if !self.in_flight.is_empty() && self.entry.withdrawn == Some(Withdrawal::Orphan) {
            return;
        }
        let orphan = self.entry.withdrawn == Some(Withdrawal::Orphan);
        let approved = self.entry.approved == Some(self.entry.digest);
        let stays = |key: &Key, item: &Item| {
            orphan || item.keep || (is_protected(&key.group, &key.kind) && !approved)
        };
        let mut due: Vec<Key> =
            self.items.iter().filter(|(key, item)| !stays(key, item)).map(|(key, _)| key.clone()).collect();
        if due.is_empty() && self.in_flight.is_empty() {
            let deleted = u32::try_from(self.deleted.len()).unwrap_or(u32::MAX);
            let kept = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
            self.facts.push((AgentFact::Withdrawn { deleted, kept }, at));
            self.effects.push(Effect::Forget);
            self.step = Step::Gone;
            return;
        }
        due.sort_by(for_prune);
        self.delete_some(due);
    }

    /// Waits before the failed part is tried again.
    pub(super) fn pause(&mut self, at: At) {
        let pause = Span(RETRY_MIN.0.saturating_mul(1 << self.attempt.min(16)).min(RETRY_MAX.0));
        if self.retry_at.is_none() {
            self.attempt += 1;
            self.retry_at = Some(at.plus(pause));
        }
    }

    /// Time passes: whatever is due is done.
    pub fn wake(&mut self, at: At) {
        if self.retry_at.is_some_and(|due| due <= at) {
            self.retry_at = None;
            self.retry(at);
        }
        if self.settle_by.is_some_and(|due| due <= at) {
            self.settle_by = None;
            self.restate(at);
        }
        self.pursue_drifts(at);
        self.inspect_due(at);
        self.restate(at);
    }

    fn retry(&mut self, at: At) {
        match self.step {
            Step::Loading => self.load(),
            Step::Withdrawing | Step::Pruning => {
                self.problems.clear();
                self.go_on_deleting(at);
            }
            Step::Resting => {
                self.problems.clear();
                self.pursue_drifts(at);
            }
            Step::Storing | Step::Applying => self.begin(at),
            Step::Parked | Step::Settling | Step::Gone => {}
        }
    }

    pub(super) fn problem_list(&self) -> impl Iterator<Item = Trouble> + '_ {
        self.problems.iter().map(|(key, problem)| Trouble {
            object: key.clone(),
            cause: problem.cause,
            message: problem.message.clone(),
        })
    }
}
