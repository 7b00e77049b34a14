//! What watches and looks say: live objects and their health.

use super::drift::Differs;
use super::ports::{Effect, Fingerprint, Inspected, LostField};
use super::roster::is_well;
use super::state::{Instance, Item, Kinds, Older, Step};
use crate::health::{Health, Judgement};
use crate::object::Key;
use crate::reconcile::plan::is_waited_for;
use crate::time::{At, Span};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Changes of one object within this time are looked at once.
const DEBOUNCE: Span = Span(100);

/// A workload that is not healthy is looked at this often, its pods too, so that causes are named early.
const UNWELL_EVERY: Span = Span::secs(1);

/// A workload that is not healthy within the time limit is looked at this often; a change of it is looked at as ever.
const OVERDUE_EVERY: Span = Span::secs(10);

/// Group of definitions, which have no pods.
const DEFINITIONS: &str = "apiextensions.k8s.io";

/// An object that could not be read is looked at again after this time.
const UNREADABLE_AGAIN: Span = Span::secs(2);

/// An object that left the bundle and that no watch shows, because it lost our label, is looked at this often: nobody
/// else would tell that it is gone. A minute, because nothing waits for it but a number in a status.
const BEHIND_EVERY: Span = Span::secs(60);

impl Instance {
    /// A watch shows an object.
    pub fn seen(&mut self, key: &Key, seen: Fingerprint, at: At) {
        if self.live.get(key).is_none_or(|known| known.version <= seen.version) {
            self.unshown.remove(key);
        }
        if self.observe(key, seen, at) {
            if self.roster.health(key).is_none_or(|judged| judged.counted) {
                self.look(key, at.plus(DEBOUNCE));
            }
            self.restate(at);
        }
    }

    /// Takes what an object is like now, unless something newer is known; whether it was news.
    fn observe(&mut self, key: &Key, seen: Fingerprint, at: At) -> bool {
        let Some(item) = self.items.get(key) else { return false };
        let known = self.live.get(key);
        if known.is_some_and(|known| seen.version <= known.version) {
            return false;
        }
        let more = known.is_some_and(|known| known.owned != seen.owned);
        let (written, is) = (item.written, seen.version);
        let older = (is < written).then_some(is);
        let (ours, applied) = (seen.owned == item.owned && older.is_none(), item.is_applied());
        let watched = applied && !seen.deleting && !self.leaves(key) && !self.in_flight.contains(key);
        let deleting = seen.deleting;
        self.live.insert(key.clone(), seen);
        self.take_turn(key);
        if !deleting {
            self.ended(key, at);
        }
        if watched && ours {
            self.undrifted(key, at);
        } else if watched {
            if older.is_some() {
                self.older = Some(Older { was: written, is, at });
            }
            self.drifted(key, Differs { more, older, ..Differs::default() }, at);
        }
        true
    }

    /// The cluster was restored from a backup: what was seen of a kind says nothing any more, until a watch has shown all
    /// of it again.
    pub fn forget_seen(&mut self, (group, _, kind): &(String, String, String), listed: &Arc<Kinds>) {
        self.listed = Arc::clone(listed);
        self.live.retain(|key, _| key.group != *group || key.kind != *kind);
    }

    /// The cluster was restored from a backup, or its inventory is not as it was left: the entry is gone through again, and
    /// so is the inventory in the cluster.
    pub fn went_back(&mut self, at: At) {
        self.recall = true;
        self.unstored = true;
        self.begin(at);
    }

    /// A watch has shown every object of a kind. One that was applied while it did not watch, and that it does not show
    /// now, may be gone already: nobody will tell, so it is looked at, once an apply under way is answered. A kind that is
    /// not `served` shows nothing, not even that its objects are gone, so all of them are looked at. Whether there is any.
    pub fn relisted(&mut self, (group, _, kind): &(String, String, String), served: bool, at: At) -> bool {
        let of_kind = |key: &&Key| key.group == *group && key.kind == *kind;
        let hidden: Vec<Key> = if served {
            let unanswered = self.in_flight.iter().filter(|key| !self.live.contains_key(*key));
            self.unshown.iter().chain(unanswered).filter(of_kind).cloned().collect()
        } else {
            let stays = |key: &&Key| self.live.contains_key(*key) && !self.leaves(key);
            self.items.keys().filter(of_kind).filter(stays).cloned().collect()
        };
        for key in &hidden {
            self.look(key, at);
        }
        self.inspect_due(at);
        !hidden.is_empty()
    }

    /// A watch shows an object no more. It may only have lost our label, or be gone since before our apply.
    pub fn vanished(&mut self, key: &Key, at: At) {
        let Some(item) = self.items.get(key) else { return };
        let applied = item.is_applied();
        if self.inspecting.contains(key) {
            self.overtaken.insert(key.clone());
        }
        // If it is still there, nobody shows what becomes of it.
        self.unshown.insert(key.clone());
        if self.in_flight.contains(key) {
            // Nobody can tell which came first: it is looked at once the answer is here.
            self.look(key, at);
            return;
        }
        let was_deleting = self.live.remove(key).is_some_and(|live| live.deleting);
        if self.leaves(key) {
            if was_deleting {
                self.removed(key, self.is_deleting());
                self.go_on_deleting(at);
            } else {
                self.look(key, at);
                self.inspect_due(at);
            }
        } else if applied {
            self.roster.judge(key, Judgement::missing());
            self.drifted(key, Differs::gone(), at);
        } else if self.ending.contains(key) {
            // It is gone, or only lost our label: a look tells.
            self.look(key, at);
            self.inspect_due(at);
        }
        self.restate(at);
    }

    /// A look at an object ended.
    pub fn inspected(&mut self, key: &Key, against: bool, outcome: Inspected, at: At) {
        self.inspecting.remove(key);
        let overtaken = self.overtaken.remove(key);
        self.unlooked.remove(key);
        self.take_turn(key);
        if !self.items.contains_key(key) {
            return;
        }
        let outcome = match outcome {
            // It may be there, unseen: what is to be deleted is not forgotten.
            Inspected::NotServed(message) if self.leaves(key) => Inspected::Unreadable(message),
            Inspected::NotServed(_) => Inspected::Missing,
            outcome => outcome,
        };
        match outcome {
            Inspected::Found { .. } if overtaken => {
                self.look(key, at);
                self.drifts.change(key, |drift| drift.asked = false);
            }
            Inspected::Found { fingerprint, judgement, lost } => {
                self.found(key, against, fingerprint, judgement, &lost, at);
            }
            // It was read before the answer to what is in flight: that answer tells more.
            Inspected::Missing if self.in_flight.contains(key) => self.look(key, at),
            Inspected::Missing if self.leaves(key) => {
                let asked = self.live.get(key).is_some_and(|live| live.deleting);
                self.removed(key, asked && self.is_deleting());
                self.go_on_deleting(at);
            }
            Inspected::Missing => {
                self.live.remove(key);
                self.unshown.remove(key);
                self.ended(key, at);
                self.roster.judge(key, Judgement::missing());
                if against {
                    self.named(key, &[], true, at);
                } else if self.items.get(key).is_some_and(Item::is_applied) {
                    self.drifted(key, Differs::gone(), at);
                }
            }
            Inspected::NotServed(message) | Inspected::Unreadable(message) => {
                self.unreadable(key, message, at);
                if against {
                    self.not_healed(key, at);
                }
            }
        }
        self.pursue_drifts(at);
        self.inspect_due(at);
        self.restate(at);
    }

    fn found(
        &mut self,
        key: &Key,
        against: bool,
        fingerprint: Fingerprint,
        judgement: Judgement,
        lost: &[LostField],
        at: At,
    ) {
        let deleting = fingerprint.deleting;
        if !self.live.contains_key(key) {
            self.unshown.insert(key.clone());
        }
        if against {
            if self.live.get(key).is_none_or(|known| known.version < fingerprint.version) {
                self.live.insert(key.clone(), fingerprint);
            }
            self.judged(key, judgement, at);
            self.named(key, lost, false, at);
        } else {
            self.observe(key, fingerprint, at);
            self.judged(key, judgement, at);
        }
        if self.leaves(key) && self.is_others(key) {
            self.removed(key, false);
            self.go_on_deleting(at);
        } else if deleting && (self.leaves(key) || self.ending.contains(key)) {
            self.look(key, at.plus(UNWELL_EVERY));
        } else if self.leaves(key) {
            if self.unshown.contains(key) {
                self.look(key, at.plus(BEHIND_EVERY));
            }
            self.go_on_deleting(at);
        }
    }

    pub(super) fn is_deleting(&self) -> bool {
        matches!(self.step, Step::Pruning | Step::Withdrawing)
    }

    fn unreadable(&mut self, key: &Key, message: String, at: At) {
        self.roster.judge(key, Judgement::new(Health::Unknown, message));
        self.look(key, at.plus(UNREADABLE_AGAIN));
    }

    /// Whether an object is on its way out, or was left behind.
    pub(super) fn leaves(&self, key: &Key) -> bool {
        let going = matches!(self.step, Step::Pruning | Step::Settling | Step::Resting);
        self.step == Step::Withdrawing || (going && self.roster.leaves(key))
    }

    pub(super) fn judged(&mut self, key: &Key, judgement: Judgement, at: At) {
        let unwell = judgement.counted && !is_well(&judgement);
        self.roster.judge(key, judgement);
        if unwell && is_waited_for(key) && !self.leaves(key) {
            let rests = self.step == Step::Resting;
            if rests && self.settle_by.is_none() && !self.overdue {
                self.settle_by = Some(at.plus(self.limits.health_timeout));
            }
            let pace = if self.overdue { OVERDUE_EVERY } else { UNWELL_EVERY };
            self.look(key, at.plus(pace));
        } else if self.overdue && self.objects_pending() == 0 {
            self.overdue = false;
        }
        self.settle(at);
        self.advance(at);
    }

    /// Looks at an object that is not known to be well, before anything is said of its health.
    pub(super) fn look_unless_well(&mut self, key: Key, at: At) {
        if !self.roster.health(&key).is_some_and(is_well) {
            self.look(&key, at);
            self.unlooked.insert(key);
        }
    }

    pub(super) fn look(&mut self, key: &Key, due: At) {
        self.inspect_at.set_earlier(key, due);
    }

    /// Asks for the looks that are due, as many as may be in flight.
    pub(super) fn inspect_due(&mut self, at: At) {
        while self.inspecting.len() < self.limits.in_flight
            && let Some(key) = self.look_due(at)
        {
            self.inspect_at.remove(&key);
            let Some(item) = self.items.get(&key) else { continue };
            let version = item.version.clone();
            let pods = is_waited_for(&key)
                && key.group != DEFINITIONS
                && !self.roster.health(&key).is_some_and(is_well);
            self.inspecting.insert(key.clone());
            self.effects.push(Effect::Inspect { key, version, pods, against: None });
        }
    }

    fn look_due(&self, at: At) -> Option<Key> {
        let mut due = self.inspect_at.iter().take_while(|(due, _)| *due <= at).map(|(_, key)| key);
        due.find(|key| !self.is_busy(key)).cloned()
    }
}
