//! What watches and looks say: live objects and their health.

use super::ports::{Fingerprint, Inspected};
use super::state::{Instance, Step};
use crate::health::{Health, Judgement};
use crate::object::Key;
use crate::reconcile::plan::is_waited_for;
use crate::time::{At, Span};
use alloc::string::String;

/// Changes of one object within this time are looked at once.
const DEBOUNCE: Span = Span(100);

/// A workload that is not healthy is looked at this often, its pods too, so that causes are named early.
const UNWELL_EVERY: Span = Span::secs(1);

/// An object that could not be read is looked at again after this time.
const UNREADABLE_AGAIN: Span = Span::secs(2);

impl Instance {
    /// A watch shows an object.
    pub fn seen(&mut self, key: &Key, seen: Fingerprint, at: At) {
        let Some(item) = self.items.get(key) else { return };
        let known = self.live.get(key);
        if known.is_some_and(|known| seen.version <= known.version && known.uid == seen.uid) {
            return;
        }
        let applied = item.content != crate::digest::Digest::default();
        let ours = seen.owned == item.owned;
        let leaving = self.leaves(key);
        if applied && !leaving && !self.in_flight.contains(key) && !seen.deleting {
            if ours { self.undrifted(key, at) } else { self.drifted(key, false, at) }
        }
        self.live.insert(key.clone(), seen);
        if self.health.get(key).is_none_or(|judged| judged.counted) {
            self.look(key, at.plus(DEBOUNCE));
        }
        self.restate(at);
    }

    /// A watch shows an object no more. It may only have lost our label, so it is looked at before that is believed.
    pub fn vanished(&mut self, key: &Key, at: At) {
        if !self.items.contains_key(key) {
            return;
        }
        let was_deleting = self.live.remove(key).is_some_and(|live| live.deleting);
        if self.leaves(key) {
            if was_deleting {
                self.removed(key);
                self.go_on_deleting(at);
            } else {
                self.look(key, at);
                self.inspect_due(at);
            }
        } else if !self.in_flight.contains(key) {
            self.health.insert(key.clone(), Judgement::missing());
            self.drifted(key, true, at);
        }
        self.restate(at);
    }

    /// A look at an object ended.
    pub fn inspected(&mut self, key: &Key, against: bool, outcome: Inspected, at: At) {
        self.inspecting.remove(key);
        if !self.items.contains_key(key) {
            return;
        }
        match outcome {
            Inspected::Found { fingerprint, judgement, lost } => {
                if fingerprint.deleting && self.leaves(key) {
                    self.look(key, at.plus(UNWELL_EVERY));
                }
                let newer = self.live.get(key).is_none_or(|known| known.version < fingerprint.version);
                if newer {
                    self.live.insert(key.clone(), fingerprint);
                }
                self.judged(key, judgement, at);
                if against {
                    self.named(key, &lost, false, at);
                }
            }
            Inspected::Missing if self.leaves(key) => {
                self.removed(key);
                self.go_on_deleting(at);
            }
            Inspected::Missing => {
                self.live.remove(key);
                self.health.insert(key.clone(), Judgement::missing());
                if against {
                    self.named(key, &[], true, at);
                } else if !self.in_flight.contains(key) {
                    self.drifted(key, true, at);
                }
            }
            Inspected::Unreadable(message) => {
                self.unreadable(key, message, at);
                if against {
                    self.not_healed(key, at);
                }
            }
        }
        self.release_objects();
        self.restate(at);
    }

    fn unreadable(&mut self, key: &Key, message: String, at: At) {
        self.health.insert(key.clone(), Judgement::new(Health::Unknown, message));
        self.look(key, at.plus(UNREADABLE_AGAIN));
    }

    fn leaves(&self, key: &Key) -> bool {
        let going = matches!(self.step, Step::Pruning | Step::Settling | Step::Resting);
        self.step == Step::Withdrawing || (going && self.leaving.contains(key))
    }

    pub(super) fn judged(&mut self, key: &Key, judgement: Judgement, at: At) {
        let unwell = judgement.counted && !matches!(judgement.health, Health::Healthy | Health::Suspended);
        self.health.insert(key.clone(), judgement);
        if unwell && is_waited_for(key) && !self.leaves(key) {
            self.look(key, at.plus(UNWELL_EVERY));
        }
        self.settle(at);
        self.advance(at);
    }

    fn look(&mut self, key: &Key, due: At) {
        let known = self.inspect_at.entry(key.clone()).or_insert(due);
        *known = (*known).min(due);
    }

    /// Asks for the looks that are due.
    pub(super) fn inspect_due(&mut self, at: At) {
        let due: alloc::vec::Vec<Key> = self
            .inspect_at
            .iter()
            .filter(|(key, due)| {
                **due <= at && !self.inspecting.contains(*key) && !self.in_flight.contains(*key)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.inspect_at.remove(&key);
            let Some(item) = self.items.get(&key) else { continue };
            let version = item.version.clone();
            let pods = is_waited_for(&key);
            self.inspecting.insert(key.clone());
            self.effects.push(super::ports::Effect::Inspect { key, version, pods, against: None });
        }
    }
}
