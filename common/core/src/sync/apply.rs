//! Applying: stage after stage, a few requests in flight, then waiting for health before anything is deleted.

use super::drift::Differs;
use super::flow::unsure;
use super::ports::{Applied, Effect, Fingerprint, Object, Problem};
use super::state::{Instance, Kinds, Member, Step};
use crate::digest::Digest;
use crate::id::CommitId;
use crate::object::Key;
use crate::time::{At, Span};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// An object that was applied is looked at after this time, once its controller had a moment.
const FIRST_LOOK: Span = Span(50);

/// So many applied objects are journalled together: what a crash forgets is applied again, which changes nothing.
const SAVED_TOGETHER: u32 = 64;

/// How long a restart waits for the watches to show what is there. Ten thousand objects are listed in a few seconds.
const LIST_MAX: Span = Span::secs(30);

/// An object whose end is waited for is looked at this often: it may have lost our label, so that no watch shows its end.
const ENDING_EVERY: Span = Span::secs(2);

impl Instance {
    pub(super) fn start_applying(&mut self, at: At) {
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
        if run != self.run || self.step != Step::Applying {
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
        while self.step == Step::Applying && !self.waiting && !self.draining && self.retry_at.is_none() {
            let Some(stage_keys) = self.stages.last_mut() else {
                if self.in_flight.is_empty() {
                    self.applied_all(at);
                }
                return;
            };
            if !stage_keys.is_empty() && self.in_flight.len() >= self.limits.in_flight {
                return;
            }
            if let Some(key) = stage_keys.pop() {
                self.apply(key, at);
            } else if !self.in_flight.is_empty() || !self.unlisted.is_empty() {
                return;
            } else if self.definitions_pending().next().is_none() {
                self.settle_by = None;
                self.stages.pop();
            } else {
                self.settle_by.get_or_insert(at.plus(self.limits.health_timeout));
                return;
            }
        }
    }

    /// Applies one object unless it is known to be as wanted: untouched objects are not written.
    ///
    /// Going through an entry again that is applied already (a restart) writes nothing where the policy heals nothing, and
    /// elsewhere waits until a watch has shown what is there.
    fn apply(&mut self, key: Key, at: At) {
        let (Some(object), Some(item)) = (self.objects.get(&key), self.items.get(&key)) else { return };
        if self.live.get(&key).is_some_and(|live| live.deleting) {
            self.wait_for_the_end(&key, at);
            return;
        }
        let same = item.content == object.content;
        let settled = self.applied == Some((self.entry.since, self.entry.digest));
        let hands_off = settled && !self.entry.policy.self_heal;
        let live = self.live.get(&key);
        let as_written =
            |live: &Fingerprint| live.owned == item.owned && live.version >= item.written && !live.deleting;
        let untouched = live.is_some_and(as_written) && !self.drifts.contains(&key);
        if same && (hands_off || untouched) {
            self.look_unless_well(key, at);
            return;
        }
        let kind = (key.group.clone(), object.version.clone(), key.kind.clone());
        let unknown = live.is_none() && !self.drifts.contains(&key);
        if same && unknown && !self.list_over && !self.listed.contains(&kind) {
            self.unlisted.entry(kind).or_default().push(key);
            self.list_by.get_or_insert(at.plus(LIST_MAX));
            return;
        }
        let (object, look_first) = (object.clone(), self.drifts.contains(&key));
        self.send_apply(object, look_first);
    }

    /// Asks for the apply of an object of the inventory.
    pub(super) fn send_apply(&mut self, object: Object, look_first: bool) {
        let Some(item) = self.items.get(&object.key) else { return };
        let same = item.content == object.content;
        let commit = if same { item.commit.clone() } else { self.entry.commit.clone() };
        self.keep_from_now_on(&object);
        self.unsure_from_now_on(&object);
        self.in_flight.insert(object.key.clone());
        self.effects.push(Effect::Apply { run: self.run, object, commit, look_first });
    }

    /// An object of this name is on its way out: what would be applied to it would go with it. Nothing of it is ours any
    /// more, so that its end is no drift and a restart applies it too.
    fn wait_for_the_end(&mut self, key: &Key, at: At) {
        let Some(item) = self.items.get_mut(key) else { return };
        if item.is_applied() {
            item.content = Digest::default();
            self.touched.insert(key.clone());
            self.dirty = true;
        }
        self.drifts.remove(key);
        self.ending.insert(key.clone());
        let message = String::from("it is being deleted, and is made again once it is gone");
        self.problems.insert(key.clone(), Problem { cause: None, message });
        self.look(key, at.plus(ENDING_EVERY));
    }

    /// What had the name of an object of the bundle is gone: the object has its turn. What failed meanwhile may have failed
    /// for want of it, such as of a namespace, and is tried again once nothing is waited for any more.
    pub(super) fn ended(&mut self, key: &Key, at: At) {
        if !self.ending.remove(key) {
            return;
        }
        self.problems.remove(key);
        match self.stages.last_mut() {
            Some(stage) => stage.push(key.clone()),
            None => self.stages.push(Vec::from([key.clone()])),
        }
        if self.problems.is_empty() {
            self.retry_at = None;
        } else if self.ending.is_empty() && self.retry_at.is_some() {
            self.retry_at = Some(at);
        }
        self.advance(at);
    }

    /// `Prune=false` counts from the moment at which it is asked for: the answer may be lost, and a later commit without
    /// the object must not delete what the cluster shows as to be kept.
    fn keep_from_now_on(&mut self, object: &Object) {
        let item = self.items.get_mut(&object.key);
        let Some(item) = item.filter(|item| object.keep && !item.keep) else { return };
        item.keep = true;
        self.keep(&object.key, true);
        self.touched.insert(object.key.clone());
        self.dirty = true;
    }

    /// An apply of an older run, which was answered since, may have left another content than the one that follows it.
    fn unsure_from_now_on(&mut self, object: &Object) {
        let item = self.items.get_mut(&object.key);
        if item.is_some_and(|item| unsure(item, object)) {
            self.touched.insert(object.key.clone());
            self.dirty = true;
        }
    }

    /// A watch has shown every object of a kind, or says that it cannot: what waited for that goes on.
    pub fn listed(&mut self, listed: &Arc<Kinds>, at: At) {
        self.listed = Arc::clone(listed);
        let kinds: Vec<_> = self.unlisted.keys().filter(|kind| listed.contains(*kind)).cloned().collect();
        for kind in kinds {
            let keys = self.unlisted.remove(&kind).unwrap_or_default();
            self.judge_now(keys);
        }
        if self.unlisted.is_empty() {
            self.list_by = None;
        }
        self.advance(at);
        self.restate(at);
    }

    /// The watches took too long: what they did not show is applied, which changes nothing where nothing is wrong.
    pub(super) fn list_over(&mut self, at: At) {
        self.list_by = None;
        self.list_over = true;
        for keys in core::mem::take(&mut self.unlisted).into_values() {
            self.judge_now(keys);
        }
        self.advance(at);
    }

    fn judge_now(&mut self, keys: Vec<Key>) {
        if let Some(stage) = self.stages.last_mut() {
            stage.extend(keys.into_iter().rev());
        }
    }

    /// An object was applied, or could not be.
    pub fn applied(
        &mut self,
        run: u64,
        object: &Object,
        commit: &CommitId,
        outcome: Result<Applied, Problem>,
        at: At,
    ) {
        let key = &object.key;
        self.in_flight.remove(key);
        self.take_turn(key);
        let failed = outcome.is_err();
        match outcome {
            Ok(applied) => self.took_effect(object, commit, applied, at),
            Err(problem) => {
                if run == self.run && self.items.contains_key(key) {
                    self.problems.insert(key.clone(), problem);
                    if self.tends() {
                        self.pause(at);
                    }
                }
                self.not_healed(key, at);
            }
        }
        self.advance(at);
        self.go_on_deleting(at);
        self.pursue_drifts(at);
        if failed || self.step != Step::Applying {
            self.restate(at);
        }
    }

    fn took_effect(&mut self, object: &Object, commit: &CommitId, applied: Applied, at: At) {
        let key = &object.key;
        let Applied { fingerprint, judgement, taken, created } = applied;
        if fingerprint.deleting && self.step == Step::Applying && self.objects.contains_key(key) {
            self.live.insert(key.clone(), fingerprint);
            self.wait_for_the_end(key, at);
            return;
        }
        self.problems.remove(key);
        let Some(item) = self.items.get_mut(key) else { return };
        let before = item.clone();
        if item.version != object.version {
            let (was, is) = (Some(item.version.clone()), Some(object.version.clone()));
            self.members.push(Member { key: key.clone(), was, is });
            item.version.clone_from(&object.version);
        }
        item.content = object.content;
        item.commit = commit.clone();
        item.uid.clone_from(&fingerprint.uid);
        item.owned = fingerprint.owned;
        item.keep = object.keep;
        let changed = *item != before || fingerprint.version < item.written;
        if changed {
            item.written = fingerprint.version;
        }
        self.keep(key, object.keep);
        if changed {
            self.touched.insert(key.clone());
        }
        self.unsaved += u32::from(changed);
        if self.unsaved >= SAVED_TOGETHER || (changed && self.step != Step::Applying) {
            self.dirty = true;
            self.unsaved = 0;
        }
        self.after_apply(key, &taken, created, fingerprint.version, at);
        // The watch may have shown what came after our apply before the answer to it arrived.
        let newer = self.live.get(key).filter(|live| live.version > fingerprint.version);
        let drifted = newer.is_some_and(|live| live.owned != fingerprint.owned && !live.deleting);
        if newer.is_none() {
            let version = fingerprint.version;
            let before = self.live.insert(key.clone(), fingerprint);
            if before.is_none_or(|shown| shown.version < version) {
                self.unshown.insert(key.clone());
            }
        }
        if judgement.counted {
            self.inspect_at.set(key, Some(at.plus(FIRST_LOOK)));
            self.unlooked.insert(key.clone());
        }
        self.judged(key, judgement, at);
        if drifted && !self.leaves(key) {
            self.drifted(key, Differs::default(), at);
        }
    }

    /// Everything was tried. What failed is tried again with back-off; health is waited for before anything is deleted.
    fn applied_all(&mut self, at: At) {
        self.dirty = true;
        self.unsaved = 0;
        if !self.problems.is_empty() {
            self.pause(at);
            return;
        }
        self.attempt = 0;
        self.trouble = None;
        self.applied = Some((self.entry.since, self.entry.digest));
        self.step = Step::Settling;
        self.settle_by = Some(at.plus(self.limits.health_timeout));
        self.settle(at);
    }

    /// Goes on to pruning once the workloads of the new state are healthy.
    pub(super) fn settle(&mut self, at: At) {
        if self.step != Step::Settling {
            return;
        }
        if self.roster.delete().is_empty() {
            self.rest(at);
        } else if self.objects_pending() == 0 {
            self.settle_by = None;
            self.overdue = false;
            self.begin_pruning(at);
        }
    }

    /// Workloads of the bundle that are not healthy. Addresses of services or ingresses are not waited for.
    pub(super) fn objects_pending(&self) -> usize {
        self.roster.pending()
    }
}
