//! Removing: what left the bundle once the new state is healthy, or everything when the app is withdrawn.

use super::ports::{Deleted, Effect, Problem};
use super::state::{Instance, Item, Member, Step};
use crate::desired::Withdrawal;
use crate::digest::Digest;
use crate::event::AgentFact;
use crate::object::Key;
use crate::object::order::{for_prune, is_protected};
use crate::time::{At, Span};
use alloc::format;
use alloc::string::String;
use core::cmp::Ordering;

/// Pause between looks at an object whose deletion waits for finalizers.
const DELETING_EVERY: Span = Span::secs(2);

/// Most objects that one event names; more make more events.
const NAMED_MAX: usize = 200;

/// So many objects that left an inventory are remembered for the case that the cluster is restored from a backup.
const LEFT_MAX: usize = 2_000;

impl Instance {
    /// Deletes what left the bundle.
    pub(super) fn begin_pruning(&mut self, at: At) {
        self.step = Step::Pruning;
        self.due = self.roster.delete().iter().cloned().map(Turn).collect();
        self.prune(at);
    }

    pub(super) fn prune(&mut self, at: At) {
        if !self.roster.delete().is_empty() && self.holds {
            return;
        }
        self.delete_some(at);
        if self.roster.delete().is_empty() && self.in_flight.is_empty() {
            self.state_pruned(at);
            self.store();
            self.rest(at);
        }
    }

    /// Whether an object is to be deleted now.
    fn goes(&self, key: &Key) -> bool {
        match self.step {
            Step::Pruning => self.roster.delete().contains(key),
            Step::Withdrawing => self.going.contains(key),
            _ => false,
        }
    }

    /// Something about an object changed: if it is to be deleted, its turn comes again.
    pub(super) fn take_turn(&mut self, key: &Key) {
        if self.goes(key) {
            self.due.insert(Turn(key.clone()));
        }
    }

    /// An object carries `Prune=false`, or does so no more.
    pub(super) fn keep(&mut self, key: &Key, keep: bool) {
        self.roster.keep(key, keep);
        if self.step == Step::Withdrawing && !self.withdrawal_spares(key, keep) {
            self.going.insert(key.clone());
        } else {
            self.going.remove(key);
        }
        self.take_turn(key);
    }

    /// The oracle: what is to be deleted and waits for nothing has its turn.
    pub(super) fn check_due(&self) -> Result<(), String> {
        let idle = |key: &&Key| {
            let looked_at = self.inspect_at.get(key).is_some();
            let waits = self.live.get(*key).is_none_or(|live| live.deleting) && looked_at;
            !waits && !self.problems.contains_key(*key) && !self.is_busy(key)
        };
        let missed = |key: &&Key| self.goes(key) && idle(key) && !self.due.contains(&Turn(Key::clone(key)));
        if let Some(key) = self.items.keys().find(missed) {
            return Err(format!("{key} is never deleted"));
        }
        let spared = |(key, item): &(&Key, &Item)| self.withdrawal_spares(key, item.keep);
        let going = self.items.iter().filter(|pair| !spared(pair)).map(|(key, _)| key);
        if self.step == Step::Withdrawing && !going.eq(&self.going) {
            return Err(String::from("other objects are withdrawn than should be"));
        }
        Ok(())
    }

    /// Whether what is there is another's: somebody made an object of this name anew, or before we could.
    pub(super) fn is_others(&self, key: &Key) -> bool {
        let (Some(item), Some(live)) = (self.items.get(key), self.live.get(key)) else { return false };
        live.uid != item.uid && !live.is_ours()
    }

    /// Says what was deleted since it was last said.
    pub(super) fn state_pruned(&mut self, at: At) {
        for objects in core::mem::take(&mut self.deleted).chunks(NAMED_MAX) {
            self.facts.push((AgentFact::Pruned { objects: objects.to_vec() }, at));
        }
    }

    /// Deletes what is known to be ours; what nothing is known of (after a restart) is looked at first.
    fn delete_some(&mut self, at: At) {
        while self.in_flight.len() < self.limits.in_flight {
            let Some(Turn(key)) = self.due.pop_first() else { break };
            let Some(item) = self.items.get(&key) else { continue };
            if !self.goes(&key) || self.problems.contains_key(&key) || self.in_flight.contains(&key) {
                continue;
            }
            let looked_at = self.inspecting.contains(&key) || self.inspect_at.get(&key).is_some();
            match self.live.get(&key) {
                None if looked_at => {}
                None => self.look(&key, at),
                Some(live) if live.deleting && looked_at => {}
                // Somebody else deleted it: if it lost our label before, no watch shows its end.
                Some(live) if live.deleting => self.look(&key, at.plus(DELETING_EVERY)),
                Some(_) if self.is_others(&key) => self.removed(&key, false),
                Some(live) => {
                    let (version, uid) = (item.version.clone(), live.uid.clone());
                    self.in_flight.insert(key.clone());
                    self.effects.push(Effect::Delete { run: self.run, key, version, uid });
                }
            }
        }
        self.inspect_due(at);
    }

    /// A deletion was answered.
    pub fn deleted(&mut self, run: u64, key: &Key, outcome: Result<Deleted, Problem>, at: At) {
        let before = self.step;
        let failed = outcome.is_err();
        self.in_flight.remove(key);
        self.take_turn(key);
        match outcome {
            Ok(Deleted::Gone) => self.removed(key, true),
            Ok(Deleted::Pending) => {
                self.live.entry(key.clone()).or_default().deleting = true;
                self.inspect_at.set(key, Some(at.plus(DELETING_EVERY)));
            }
            Err(problem) if run == self.run => {
                self.problems.insert(key.clone(), problem);
                self.pause(at);
            }
            Err(_) => {}
        }
        self.advance(at);
        self.go_on_deleting(at);
        self.pursue_drifts(at);
        // While objects go one by one that is no news; an answer to what a newer entry pre-empted may be.
        if failed || self.step != before || !self.is_deleting() {
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
        let Some(item) = self.items.get_mut(key) else { return };
        if self.objects.contains_key(key) && self.step != Step::Withdrawing {
            let (content, uid) = (Digest::default(), String::new());
            *item = Item { content, uid, owned: 0, written: 0, ..item.clone() };
            self.roster.forget(key);
        } else {
            let was = Some(item.version.clone());
            self.items.remove(key);
            self.left.push_back(key.clone());
            self.left.drain(..self.left.len().saturating_sub(LEFT_MAX));
            self.roster.exit(key);
            self.members.push(Member { key: key.clone(), was, is: None });
        }
        if ours {
            self.deleted.push(key.clone());
        }
        self.touched.insert(key.clone());
        self.dirty = true;
        self.going.remove(key);
        self.due.remove(&Turn(key.clone()));
        self.live.remove(key);
        self.inspect_at.remove(key);
        self.unlooked.remove(key);
        self.unshown.remove(key);
        self.ending.remove(key);
        self.drifts.remove(key);
        self.problems.remove(key);
        self.fights.forget(key);
    }

    /// Whether a withdrawal leaves an object where it is.
    fn withdrawal_spares(&self, key: &Key, keep: bool) -> bool {
        let orphan = self.entry.withdrawn == Some(Withdrawal::Orphan);
        let approved = self.entry.approved == Some(self.entry.digest);
        orphan || keep || (is_protected(&key.group, &key.kind) && !approved)
    }

    /// Deletes everything that may go.
    pub(super) fn begin_withdrawing(&mut self, at: At) {
        self.step = Step::Withdrawing;
        self.forgetting = false;
        let goes = |(key, item): &(&Key, &Item)| !self.withdrawal_spares(key, item.keep);
        self.going = self.items.iter().filter(goes).map(|(key, _)| key.clone()).collect();
        self.due = self.going.iter().cloned().map(Turn).collect();
        self.withdraw(at);
    }

    /// Whether all that is left of a withdrawal is the inventory.
    pub(super) fn is_forgetting(&self) -> bool {
        self.step == Step::Withdrawing && self.forgetting
    }

    pub(super) fn withdraw(&mut self, at: At) {
        if self.holds {
            return;
        }
        self.delete_some(at);
        if self.going.is_empty() && self.in_flight.is_empty() && self.storing.is_none() {
            // The removal is one more writing: it must not land after that of an app that came back meanwhile.
            if !core::mem::replace(&mut self.forgetting, true) {
                self.storing = Some(self.run);
                self.effects.push(Effect::Forget { run: self.run });
                // From here on the inventory may be gone: an app that comes back writes it, after a restart too.
                (self.unstored, self.applied, self.dirty) = (true, None, true);
                return;
            }
            let deleted = u32::try_from(self.deleted.len()).unwrap_or(u32::MAX);
            let kept = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
            self.facts.push((AgentFact::Withdrawn { since: Some(self.entry.since), deleted, kept }, at));
            self.step = Step::Gone;
        }
    }
}

/// A place in the order of deleting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn(pub(super) Key);

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Turn) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Turn) -> Ordering {
        for_prune(&self.0, &other.0)
    }
}
