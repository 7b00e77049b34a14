//! Removing: what left the bundle once the new state is healthy, or everything when the app is withdrawn.

use super::ports::{Deleted, Effect, Problem};
use super::state::{Instance, Item, Step};
use crate::desired::Withdrawal;
use crate::digest::Digest;
use crate::event::AgentFact;
use crate::object::Key;
use crate::object::order::{for_prune, is_protected};
use crate::reconcile::prune;
use crate::time::{At, Span};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Pause between looks at an object whose deletion waits for finalizers.
const DELETING_EVERY: Span = Span::secs(2);

/// Most objects that one event names; more make more events.
const NAMED_MAX: usize = 200;

impl Instance {
    /// What becomes of the objects that left the bundle.
    pub(super) fn fate(&self) -> prune::Fate {
        prune::fate(&self.entry, &self.leaving, |key| self.items.get(key).is_some_and(|item| item.keep))
    }

    pub(super) fn prune(&mut self, at: At) {
        let mut due = self.fate().delete;
        if !due.is_empty() && self.holds {
            return;
        }
        if !due.is_empty() {
            due.sort_by(for_prune);
            self.delete_some(due, at);
            due = self.fate().delete;
        }
        if due.is_empty() && self.in_flight.is_empty() {
            self.state_pruned(at);
            self.store();
            self.rest(at);
        }
    }

    /// Says what was deleted since it was last said.
    pub(super) fn state_pruned(&mut self, at: At) {
        for objects in core::mem::take(&mut self.deleted).chunks(NAMED_MAX) {
            self.facts.push((AgentFact::Pruned { objects: objects.to_vec() }, at));
        }
    }

    /// Deletes what is known to be ours; what nothing is known of (after a restart) is looked at first.
    fn delete_some(&mut self, due: Vec<Key>, at: At) {
        for key in due {
            if self.in_flight.len() >= self.limits.in_flight {
                break;
            }
            let Some(item) = self.items.get(&key) else { continue };
            if self.problems.contains_key(&key) || self.in_flight.contains(&key) {
                continue;
            }
            match self.live.get(&key) {
                None if self.inspecting.contains(&key) => {}
                None => {
                    self.inspect_at.entry(key).or_insert(at);
                }
                Some(live) if live.deleting => {}
                Some(live) if live.uid == item.uid || live.is_ours() => {
                    let (version, uid) = (item.version.clone(), live.uid.clone());
                    self.in_flight.insert(key.clone());
                    self.effects.push(Effect::Delete { run: self.run, key, version, uid });
                }
                // Somebody made another object of this name, or made it before we could.
                Some(_) => self.removed(&key, false),
            }
        }
        self.inspect_due(at);
    }

    /// A deletion was answered.
    pub fn deleted(&mut self, run: u64, key: &Key, outcome: Result<Deleted, Problem>, at: At) {
        let before = self.step;
        let failed = outcome.is_err();
        self.in_flight.remove(key);
        match outcome {
            Ok(Deleted::Gone) => self.removed(key, true),
            Ok(Deleted::Pending) => {
                self.live.entry(key.clone()).or_default().deleting = true;
                self.inspect_at.insert(key.clone(), at.plus(DELETING_EVERY));
            }
            Err(problem) if run == self.run => {
                self.problems.insert(key.clone(), problem);
                self.pause(at);
            }
            Err(_) => {}
        }
        self.advance(at);
        self.go_on_deleting(at);
        if failed || self.step != before {
            self.restate(at);
        }
    }

    pub(super) fn go_on_deleting(&mut self, at: At) {
        match self.step {
            Step::Pruning => self.prune(at),
            Step::Withdrawing => self.withdraw(at),
            _ => {}
        }
    }

    /// An object that was to go is gone; `ours` if we deleted it. One that a newer entry wants again is applied anew.
    pub(super) fn removed(&mut self, key: &Key, ours: bool) {
        let known = if self.objects.contains_key(key) && self.step != Step::Withdrawing {
            let item = self.items.get_mut(key);
            item.map(|item| {
                *item = Item { content: Digest::default(), uid: String::new(), owned: 0, ..item.clone() }
            })
        } else {
            self.items.remove(key).map(drop)
        };
        if known.is_some() {
            if ours {
                self.deleted.push(key.clone());
            }
            self.members_changed = true;
            self.dirty = true;
        }
        self.leaving.remove(key);
        self.live.remove(key);
        self.health.remove(key);
        self.inspect_at.remove(key);
        self.unlooked.remove(key);
        self.drifts.remove(key);
        self.problems.remove(key);
        self.fights.forget(core::slice::from_ref(key));
    }

    pub(super) fn withdraw(&mut self, at: At) {
        if self.holds {
            return;
        }
        let orphan = self.entry.withdrawn == Some(Withdrawal::Orphan);
        let approved = self.entry.approved == Some(self.entry.digest);
        let stays = |key: &Key, item: &Item| {
            orphan || item.keep || (is_protected(&key.group, &key.kind) && !approved)
        };
        let due = |items: &BTreeMap<Key, Item>| -> Vec<Key> {
            items.iter().filter(|(key, item)| !stays(key, item)).map(|(key, _)| key.clone()).collect()
        };
        let mut now = due(&self.items);
        now.sort_by(for_prune);
        self.delete_some(now, at);
        if !due(&self.items).is_empty() {
            return;
        }
        if self.in_flight.is_empty() && self.storing.is_none() {
            let deleted = u32::try_from(self.deleted.len()).unwrap_or(u32::MAX);
            let kept = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
            self.facts.push((AgentFact::Withdrawn { since: Some(self.entry.since), deleted, kept }, at));
            self.effects.push(Effect::Forget);
            self.step = Step::Gone;
        }
    }
}
