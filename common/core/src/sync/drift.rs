//! Drift: seen, held against fights, healed, stated with object, fields, manager and duration.

use super::ports::{Effect, LostField, Object};
use super::state::{Drift, Instance, Step};
use crate::event::AgentFact;
use crate::object::Key;
use crate::time::{At, Span};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Pause before a heal that failed is tried again.
const AGAIN: Span = Span::secs(2);

impl Instance {
    /// A live object is not what was applied.
    pub(super) fn drifted(&mut self, key: &Key, gone: bool, at: At) {
        let fresh = Drift {
            since: at,
            gone,
            begun: false,
            fields: Vec::new(),
            manager: String::new(),
            not_before: At(0),
            asked: false,
        };
        let drift = self.drifts.entry(key.clone()).or_insert(fresh);
        if gone && !drift.gone {
            drift.gone = true;
            drift.begun = false;
        }
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
        if self.step != Step::Resting || self.drifts.is_empty() {
            return;
        }
        let heal = self.entry.policy.self_heal;
        let due = |drift: &&Drift| !drift.asked && drift.not_before <= at && (heal || !drift.begun);
        if !self.drifts.values().any(|drift| due(&drift)) {
            return;
        }
        if !self.holds_objects {
            if !self.waiting {
                self.waiting = true;
                self.effects.push(Effect::Load { run: self.run, entry: self.entry.clone() });
            }
            return;
        }
        let mut asked = Vec::new();
        for (key, drift) in self.drifts.iter_mut().filter(|(_, drift)| due(&&**drift)) {
            if self.in_flight.contains(key) || self.inspecting.contains(key) {
                continue;
            }
            drift.asked = true;
            asked.push((key.clone(), drift.begun));
        }
        for (key, begun) in asked {
            let Some(object) = self.objects.get(&key).cloned() else {
                self.drifts.remove(&key);
                continue;
            };
            if heal && (begun || !self.fights.knows(&key)) {
                self.heal(object);
            } else {
                self.inspecting.insert(key.clone());
                let (version, against) = (object.version.clone(), Some(object));
                self.effects.push(Effect::Inspect { key, version, pods: false, against });
            }
        }
    }

    fn heal(&mut self, object: Object) {
        let Some(item) = self.items.get(&object.key) else { return };
        let commit = item.commit.clone();
        self.in_flight.insert(object.key.clone());
        self.effects.push(Effect::Apply { run: self.run, object, commit, look_first: true });
    }

    /// A look at a drifted object named the fields. Waits if all of them are fought over.
    pub(super) fn named(&mut self, key: &Key, lost: &[LostField], gone: bool, at: At) {
        let Some(drift) = self.drifts.get_mut(key) else { return };
        drift.asked = false;
        drift.gone = gone;
        if lost.is_empty() && !gone {
            self.drifts.remove(key);
            return;
        }
        drift.fields = lost.iter().map(|field| field.path.clone()).collect();
        drift.manager = manager(lost);
        drift.not_before = self.fights.allowed_at(key, &drift.fields);
        let waits = !self.entry.policy.self_heal || drift.not_before > at;
        if waits && !drift.begun {
            drift.begun = true;
            let drift = drift.clone();
            self.state_begun(key, &drift);
        } else if !waits && let Some(object) = self.objects.get(key).cloned() {
            drift.asked = true;
            self.heal(object);
        }
    }

    /// After an object was applied: a drift ends, or fields were taken over from others.
    pub(super) fn after_apply(&mut self, key: &Key, taken: &[LostField], at: At) {
        if let Some(mut drift) = self.drifts.remove(key) {
            if taken.is_empty() && !drift.gone {
                return;
            }
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
        for (manager, fields) in by_manager {
            let (object, manager) = (key.clone(), String::from(manager));
            self.facts.push((AgentFact::FieldsTaken { object, manager, fields }, at));
        }
    }

    pub(super) fn not_healed(&mut self, key: &Key, at: At) {
        let Some(drift) = self.drifts.get_mut(key) else { return };
        drift.asked = false;
        drift.not_before = at.plus(AGAIN);
        if !drift.begun {
            drift.begun = true;
            let drift = drift.clone();
            self.state_begun(key, &drift);
        }
    }

    fn state_begun(&mut self, key: &Key, drift: &Drift) {
        let fact = AgentFact::DriftBegun {
            object: key.clone(),
            fields: drift.fields.clone(),
            manager: drift.manager.clone(),
            gone: drift.gone,
        };
        self.facts.push((fact, drift.since));
    }

    fn state_healed(&mut self, key: &Key, drift: &Drift, attempts: u32, at: At) {
        let fact = AgentFact::DriftHealed {
            object: key.clone(),
            fields: drift.fields.clone(),
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
