//! Drift: seen, held against fights, healed, stated with object, fields, manager and duration.

use super::ports::{Effect, LostField, Object};
use super::state::{Drift, Instance};
use crate::event::AgentFact;
use crate::object::Key;
use crate::object::order::{rank, stage};
use crate::time::{At, Span};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Pause before a heal that failed is tried again.
const AGAIN: Span = Span::secs(2);

/// Most fields that one event names.
const FIELDS_MAX: usize = 50;

impl Instance {
    /// A live object is not what was applied. `more`: it differs otherwise than before.
    pub(super) fn drifted(&mut self, key: &Key, gone: bool, more: bool, at: At) {
        let fresh = Drift {
            since: at,
            gone,
            begun: false,
            fields: Vec::new(),
            manager: String::new(),
            not_before: At(0),
            asked: false,
            look: false,
        };
        let drift = self.drifts.entry(key.clone()).or_insert(fresh);
        if gone && !drift.gone {
            drift.gone = true;
            drift.begun = false;
            drift.look = true;
        }
        drift.look |= more && drift.begun;
        self.pursue_drifts(at);
    }

    /// It is as applied again without our doing.
    pub(super) fn undrifted(&mut self, key: &Key, at: At) {
        if self.drifts.get(key).is_none_or(|drift| drift.asked) {
            return;
        }
        if let Some(drift) = self.drifts.remove(key)
            && drift.begun
        {
            self.state_healed(key, &drift, 0, at);
        }
    }

    /// Heals what may be healed now, or has it looked at where the policy says so.
    pub(super) fn pursue_drifts(&mut self, at: At) {
        if !self.tends() || self.drifts.is_empty() {
            return;
        }
        let heal = self.entry.policy.self_heal;
        let due = |drift: &Drift| {
            !drift.asked && (drift.look || (drift.not_before <= at && (heal || !drift.begun)))
        };
        if !self.drifts.values().any(due) {
            return;
        }
        if !self.holds_objects {
            if !self.waiting && self.retry_at.is_none() {
                self.load();
            }
            return;
        }
        let due: Vec<&Key> = self.drifts.iter().filter(|(_, drift)| due(drift)).map(|(key, _)| key).collect();
        for key in self.first_of(due) {
            if self.busy() >= self.limits.in_flight {
                return;
            }
            self.pursue(key, heal);
        }
    }

    /// In the order of applying, those of the first stage that is not whole: nothing can be made in a missing namespace.
    fn first_of(&self, due: Vec<&Key>) -> Vec<Key> {
        let stage_of = |key: &Key| stage(&key.group, &key.kind);
        let first = due.iter().copied().chain(&self.in_flight).map(stage_of).min();
        let mut now: Vec<(u8, &Key)> = due
            .into_iter()
            .filter(|key| Some(stage_of(key)) == first && !self.is_busy(key))
            .map(|key| (rank(&key.kind), key))
            .collect();
        now.sort_unstable();
        now.into_iter().map(|(_, key)| key.clone()).collect()
    }

    fn pursue(&mut self, key: Key, heal: bool) {
        let (Some(object), true) = (self.objects.get(&key).cloned(), self.items.contains_key(&key)) else {
            self.drifts.remove(&key);
            return;
        };
        let Some(drift) = self.drifts.get_mut(&key) else { return };
        drift.asked = true;
        let known_fight = self.fights.knows(&key);
        if heal && (!known_fight || (drift.begun && !drift.look)) {
            self.heal(object);
        } else {
            self.inspecting.insert(key.clone());
            let (version, against) = (object.version.clone(), Some(object));
            self.effects.push(Effect::Inspect { key, version, pods: false, against });
        }
    }

    fn heal(&mut self, object: Object) {
        let Some(item) = self.items.get(&object.key) else { return };
        let same = item.content == object.content;
        let commit = if same { item.commit.clone() } else { self.entry.commit.clone() };
        self.in_flight.insert(object.key.clone());
        self.effects.push(Effect::Apply { run: self.run, object, commit, look_first: true });
    }

    /// A look at a drifted object named the fields. Waits if all of them are fought over.
    pub(super) fn named(&mut self, key: &Key, lost: &[LostField], gone: bool, at: At) {
        let tends = self.tends();
        let Some(drift) = self.drifts.get_mut(key) else { return };
        drift.asked = false;
        drift.look = false;
        drift.gone = gone;
        if lost.is_empty() && !gone {
            self.undrifted(key, at);
            return;
        }
        drift.fields = lost.iter().map(|field| field.path.clone()).collect();
        drift.manager = manager(lost);
        drift.not_before = self.fights.allowed_at(key, &drift.fields);
        let waits = !self.entry.policy.self_heal || drift.not_before > at;
        if waits {
            if !drift.begun {
                drift.begun = true;
                let drift = drift.clone();
                self.state_begun(key, &drift);
            }
        } else if tends
            && !self.in_flight.contains(key)
            && let Some(object) = self.objects.get(key).cloned()
        {
            drift.asked = true;
            self.heal(object);
        }
    }

    /// After an object was applied: a drift ends, or fields were taken over from others.
    pub(super) fn after_apply(&mut self, key: &Key, taken: &[LostField], created: bool, at: At) {
        if let Some(mut drift) = self.drifts.remove(key) {
            if taken.is_empty() && !created {
                if drift.begun {
                    self.state_healed(key, &drift, 0, at);
                }
                return;
            }
            drift.gone = created;
            drift.fields = taken.iter().map(|field| field.path.clone()).collect();
            drift.manager = manager(taken);
            if !drift.begun {
                self.state_begun(key, &drift);
            }
            let attempts = self.fights.healed(key, &drift.fields, at);
            self.state_healed(key, &drift, attempts, at);
            return;
        }
        let mut by_manager: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for field in taken.iter().filter(|field| !field.manager.is_empty()) {
            by_manager.entry(&field.manager).or_default().push(field.path.clone());
        }
        for (manager, mut fields) in by_manager {
            fields.truncate(FIELDS_MAX);
            let (object, manager) = (key.clone(), String::from(manager));
            self.facts.push((AgentFact::FieldsTaken { object, manager, fields }, at));
        }
    }

    /// Healing or looking failed: later again, and not before what failed is tried again anyhow.
    pub(super) fn not_healed(&mut self, key: &Key, at: At) {
        let Some(drift) = self.drifts.get_mut(key) else { return };
        drift.asked = false;
        drift.not_before = at.plus(AGAIN).max(self.retry_at.unwrap_or_default());
        if !drift.begun {
            drift.begun = true;
            let drift = drift.clone();
            self.state_begun(key, &drift);
        }
    }

    fn state_begun(&mut self, key: &Key, drift: &Drift) {
        let fact = AgentFact::DriftBegun {
            object: key.clone(),
            fields: drift.fields.iter().take(FIELDS_MAX).cloned().collect(),
            manager: drift.manager.clone(),
            gone: drift.gone,
        };
        self.facts.push((fact, drift.since));
    }

    fn state_healed(&mut self, key: &Key, drift: &Drift, attempts: u32, at: At) {
        let fact = AgentFact::DriftHealed {
            object: key.clone(),
            fields: drift.fields.iter().take(FIELDS_MAX).cloned().collect(),
            manager: drift.manager.clone(),
            lasted_ms: at.since(drift.since).0,
            attempts,
        };
        self.facts.push((fact, at));
    }
}

fn manager(lost: &[LostField]) -> String {
    lost.iter().map(|field| field.manager.as_str()).find(|name| !name.is_empty()).unwrap_or_default().into()
}
