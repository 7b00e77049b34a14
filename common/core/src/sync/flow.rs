//! The way of an entry: load, guard, store; and what time brings: retries, limits.

use super::ports::{Effect, Object, Problem, Recalled, Stray, Unstored};
use super::state::{Instance, Item, Member, Step};
use crate::desired::Entry;
use crate::digest::Digest;
use crate::event::agent::Trouble;
use crate::health::Health;
use crate::object::Key;
use crate::object::order::{Stage, stage};
use crate::reconcile::prune::Rules;
use crate::reconcile::{plan, prune};
use crate::time::{At, Span};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// First pause before a failed sync is tried again; doubles up to [`RETRY_MAX`] (Argo CD waits 5 s to 3 min).
const RETRY_MIN: Span = Span::secs(2);

/// Longest pause before a failed sync is tried again.
const RETRY_MAX: Span = Span::secs(180);

impl Instance {
    /// Begins, or begins again, with the entry in force.
    pub fn begin(&mut self, at: At) {
        self.run += 1;
        self.draining = !self.in_flight.is_empty();
        self.waiting = false;
        self.retry_at = None;
        self.settle_by = None;
        self.overdue = false;
        self.stages.clear();
        self.unlisted.clear();
        self.list_by = None;
        self.list_over = false;
        self.due.clear();
        self.going.clear();
        self.problems.clear();
        self.ending.clear();
        self.trouble = None;
        self.objects.clear();
        let (roster, items) = (&mut self.roster, &self.items);
        roster.rule(Rules::of(&self.entry), |key| keeps(items, key));
        self.drifts.heals(self.entry.policy.self_heal);
        if self.entry.withdrawn.is_some() {
            self.begin_withdrawing(at);
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

    /// Deletes nothing from now on, until [`Instance::release`].
    pub fn hold(&mut self) {
        self.holds = true;
    }

    /// Goes on deleting where it was held, and states its state anew, for a hub that may never have heard it.
    pub fn release(&mut self, at: At) {
        self.holds = false;
        self.stated = None;
        self.dirty = true;
        self.go_on_deleting(at);
        self.restate(at);
    }

    fn load(&mut self) {
        self.waiting = true;
        let recall = self.recall.then(|| self.left.iter().cloned().collect());
        self.effects.push(Effect::Load { run: self.run, entry: self.entry.clone(), recall });
    }

    /// The bundle's objects arrived. `shared` names objects that another app owns.
    pub fn loaded(
        &mut self,
        run: u64,
        objects: Vec<Object>,
        recalled: Recalled,
        shared: &BTreeMap<Key, String>,
        at: At,
    ) {
        if run != self.run || self.step != Step::Loading {
            return;
        }
        self.waiting = false;
        self.trouble = None;
        self.objects = objects.into_iter().map(|object| (object.key.clone(), object)).collect();
        for (key, owner) in shared {
            if self.objects.remove(key).is_some() {
                let message = alloc::format!("app {owner} has this object already");
                self.problems.insert(key.clone(), Problem { cause: None, message });
            }
        }
        self.recall(recalled);
        self.guard(at);
    }

    /// What the inventory in the cluster names and the journal does not is a member that left the bundle: of a journal that
    /// was lost, or of a cluster that was restored. It leaves as any other, under the same guards.
    fn recall(&mut self, Recalled { strays, lacks }: Recalled) {
        self.unstored |= lacks;
        for Stray { key, version, uid, keep } in strays {
            if self.items.contains_key(&key) || self.objects.contains_key(&key) {
                continue;
            }
            let (content, commit) = (Digest::default(), self.entry.commit.clone());
            self.members.push(Member { key: key.clone(), was: None, is: Some(version.clone()) });
            self.roster.enter(&key);
            self.touched.insert(key.clone());
            self.dirty = true;
            self.items.insert(key, Item { version, content, commit, uid, owned: 0, keep, written: 0 });
        }
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
        self.state_pruned(at);
        let left = self.left();
        let counted = left.iter().filter(|key| !self.items[*key].keep).count();
        let items = &self.items;
        self.roster.leave(left, |key| keeps(items, key));
        if let Some(why) = prune::guard(&self.entry, self.items.len(), self.objects.len(), counted) {
            self.step = Step::Parked;
            self.trouble = Some(why);
            self.objects.clear();
            let applied = self.items.iter().filter(|(_, item)| item.is_applied());
            let applied: Vec<Key> = applied.map(|(key, _)| key.clone()).collect();
            for key in applied {
                self.look_unless_well(key, at);
            }
            self.restate(at);
            return;
        }
        // What the inventory named beside a bundle that was held is named again: of that bundle nothing became a member.
        self.recall = false;
        for (key, object) in &self.objects {
            if let Some(item) = self.items.get_mut(key) {
                if unsure(item, object) {
                    self.touched.insert(key.clone());
                    self.dirty = true;
                }
                continue;
            }
            let version = object.version.clone();
            let commit = self.entry.commit.clone();
            // To be kept from now on: after a lost journal it may be there, and leave again before it is applied.
            let keep = object.keep;
            let (content, uid) = (Digest::default(), String::new());
            let fresh = Item { version, content, commit, uid, owned: 0, keep, written: 0 };
            self.members.push(Member { key: key.clone(), was: None, is: Some(object.version.clone()) });
            self.roster.enter(key);
            self.touched.insert(key.clone());
            self.items.insert(key.clone(), fresh);
            self.unstored = true;
            self.dirty = true;
        }
        // Both are taken from the end.
        self.stages = plan::stages(self.objects.keys());
        for stage in &mut self.stages {
            stage.reverse();
        }
        self.stages.reverse();
        if !self.unstored {
            self.start_applying(at);
            return;
        }
        self.step = Step::Storing;
        self.waiting = true;
        self.store();
        self.restate(at);
    }

    /// Objects of the inventory that are not in the bundle.
    fn left(&self) -> BTreeSet<Key> {
        let here = |key: &&Key| !self.objects.contains_key(*key) && !self.problems.contains_key(*key);
        self.items.keys().filter(here).cloned().collect()
    }

    /// Writes the inventory into the cluster; one writing at a time, so that an older one never lands last.
    pub(super) fn store(&mut self) {
        if self.storing.is_some() {
            self.store_again = true;
            return;
        }
        self.storing = Some(self.run);
        self.forgetting = false;
        let keys = self.items.iter().map(|(key, item)| (key.clone(), item.version.clone())).collect();
        self.effects.push(Effect::Store { run: self.run, keys });
    }

    /// The inventory stands in the cluster, or could not be written.
    pub fn stored(&mut self, run: u64, outcome: Result<(), Unstored>, at: At) {
        if self.storing != Some(run) {
            return;
        }
        self.storing = None;
        let problem = match outcome {
            Err(Unstored::Changed) => {
                self.store_again = false;
                return self.went_back(at);
            }
            Err(Unstored::Failed(problem)) => Some(problem),
            Ok(()) => None,
        };
        if core::mem::take(&mut self.store_again) {
            self.store();
            return;
        }
        self.unstored = problem.is_some() || self.forgetting;
        if self.step != Step::Storing || run != self.run {
            self.go_on_deleting(at);
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

    pub(super) fn rest(&mut self, at: At) {
        self.step = Step::Resting;
        self.attempt = 0;
        self.settle_by = None;
        // What stays behind may not be there at all: its apply failed, or nobody saw it go.
        let unseen = |key: &&Key| !self.live.contains_key(*key) || self.unshown.contains(*key);
        let unseen = self.roster.leaving().filter(unseen);
        for key in unseen.cloned().collect::<Vec<Key>>() {
            self.look(&key, at);
        }
        self.inspect_due(at);
        self.pursue_drifts(at);
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
            self.not_in_time(at);
        }
        if self.list_by.is_some_and(|due| due <= at) {
            self.list_over(at);
        }
        self.pursue_drifts(at);
        self.inspect_due(at);
        self.restate(at);
    }

    fn retry(&mut self, at: At) {
        match self.step {
            Step::Loading => self.load(),
            Step::Withdrawing | Step::Pruning => {
                for key in core::mem::take(&mut self.problems).into_keys() {
                    self.take_turn(&key);
                }
                self.go_on_deleting(at);
            }
            Step::Resting | Step::Settling if self.problems.is_empty() => {
                self.trouble = None;
                self.pursue_drifts(at);
            }
            // What a heal needs may be gone as well, such as the destination namespace: everything is gone through.
            Step::Resting | Step::Settling | Step::Storing | Step::Applying => self.begin(at),
            Step::Parked | Step::Gone => {}
        }
    }

    /// The time limit is over: what is not healthy is named; definitions that are not established fail.
    fn not_in_time(&mut self, at: At) {
        if self.step != Step::Applying {
            self.overdue = self.objects_pending() > 0;
            return;
        }
        let late: Vec<Key> = self.definitions_pending().cloned().collect();
        for key in late {
            let message = String::from("not established in time");
            self.problems.insert(key, Problem { cause: None, message });
        }
        self.advance(at);
    }

    /// Definitions of the bundle that are not established yet and have not failed.
    pub(super) fn definitions_pending(&self) -> impl Iterator<Item = &Key> {
        let definitions = self.objects.range(first_definition()..).map(|(key, _)| key);
        let definitions = definitions.take_while(|key| stage(&key.group, &key.kind) == Stage::Definitions);
        definitions.filter(|key| {
            !self.problems.contains_key(*key)
                && self.roster.health(key).is_some_and(|judged| judged.health == Health::Progressing)
        })
    }

    pub(super) fn problem_list(&self) -> impl Iterator<Item = Trouble> + '_ {
        self.problems.iter().map(|(key, problem)| Trouble {
            object: key.clone(),
            cause: problem.cause,
            message: problem.message.clone(),
        })
    }
}

/// From an apply on nobody can say which content an object has until that is answered: an answer may be lost, and the
/// content from before may come back. Whether that changes the object.
pub(super) fn unsure(item: &mut Item, object: &Object) -> bool {
    let changes = item.is_applied() && item.content != object.content;
    if changes {
        item.content = Digest::default();
    }
    changes
}

/// Whether an object of the inventory carries `Prune=false`.
pub(super) fn keeps(items: &BTreeMap<Key, Item>, key: &Key) -> bool {
    items.get(key).is_some_and(|item| item.keep)
}

/// Before all definitions in the order of keys.
fn first_definition() -> Key {
    let (group, kind) = (String::from("apiextensions.k8s.io"), String::from("CustomResourceDefinition"));
    Key { group, kind, namespace: String::new(), name: String::new() }
}
