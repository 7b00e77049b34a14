//! Drift: seen, held against fights, healed, stated with object, fields, manager and duration.

use super::drifting::Drift;
use super::ports::{Effect, LostField};
use super::state::Instance;
use crate::event::AgentFact;
use crate::object::Key;
use crate::time::{At, Span};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Pause before a heal that failed is tried again.
const AGAIN: Span = Span::secs(2);

/// Objects that vanish within this time are made again in the order of applying: their namespace may be among them.
const TOGETHER: Span = Span(20);

/// Most fields that one event names.
const FIELDS_MAX: usize = 50;

/// How a live object differs from what was applied.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Differs {
    /// It is gone.
    pub gone: bool,
    /// It differs otherwise than before.
    pub more: bool,
    /// It has this version, which is lower than the one that was written.
    pub older: Option<u64>,
}

impl Differs {
    pub(super) fn gone() -> Differs {
        Differs { gone: true, ..Differs::default() }
    }
}

impl Instance {
    /// A live object is not what was applied.
    pub(super) fn drifted(&mut self, key: &Key, differs: Differs, at: At) {
        let Differs { gone, more, older } = differs;
        let known = self.drifts.change(key, |drift| {
            if gone && !drift.gone {
                drift.gone = true;
                drift.begun = false;
                drift.look = true;
            }
            drift.look |= more && drift.begun;
            drift.older = older;
        });
        if known.is_none() {
            let (fields, manager) = (Vec::new(), String::new());
            let (begun, asked, look) = (false, false, false);
            let not_before = if gone { at.plus(TOGETHER) } else { At(0) };
            let failed = false;
            let fresh =
                Drift { since: at, gone, begun, fields, manager, not_before, asked, look, failed, older };
            self.drifts.put(key.clone(), fresh);
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
        if !self.tends() {
            return;
        }
        self.drifts.pass(at);
        while self.busy() < self.limits.in_flight {
            let next = self.drifts.first(self.in_flight.iter(), |key| self.is_busy(key));
            let Some(key) = next else { return };
            self.pursue(key);
        }
    }

    fn pursue(&mut self, key: Key) {
        let (Some(object), true) = (self.objects.get(&key).cloned(), self.items.contains_key(&key)) else {
            self.drifts.remove(&key);
            return;
        };
        let known_fight = self.fights.knows(&key);
        let asks = |drift: &mut Drift| (drift.asked, drift.failed) = (true, false);
        let Some(drift) = self.drifts.change(&key, asks) else { return };
        if self.entry.policy.self_heal && (!known_fight || (drift.begun && !drift.look)) {
            self.send_apply(object, true);
        } else {
            self.inspecting.insert(key.clone());
            let (version, against) = (object.version.clone(), Some(object));
            self.effects.push(Effect::Inspect { key, version, pods: false, against });
        }
    }

    /// A look at a drifted object named the fields. Waits if all of them are fought over.
    pub(super) fn named(&mut self, key: &Key, lost: &[LostField], gone: bool, at: At) {
        let older = self.drifts.get(key).is_some_and(|drift| drift.older.is_some());
        let whole = lost.is_empty() && !gone && !older;
        let fields: Vec<String> = lost.iter().map(|field| field.path.clone()).collect();
        let allowed = self.fights.allowed_at(key, &fields);
        let named = self.drifts.change(key, |drift| {
            drift.asked = false;
            drift.look = false;
            drift.gone = gone;
            if !whole {
                drift.fields = fields;
                drift.manager = manager(lost);
                drift.not_before = allowed;
            }
        });
        if named.is_none() {
            return;
        }
        if whole {
            self.undrifted(key, at);
        } else if !self.entry.policy.self_heal || allowed > at {
            self.begin_drift(key);
        } else if self.tends()
            && !self.in_flight.contains(key)
            && let Some(object) = self.objects.get(key).cloned()
        {
            self.drifts.change(key, |drift| drift.asked = true);
            self.send_apply(object, true);
        }
    }

    /// States once that a drift is there.
    fn begin_drift(&mut self, key: &Key) {
        if self.drifts.get(key).is_some_and(|drift| !drift.begun)
            && let Some(drift) = self.drifts.change(key, |drift| drift.begun = true).cloned()
        {
            self.state_begun(key, &drift);
        }
    }

    /// After an object was applied and has this version: a drift ends, or fields were taken over from others.
    pub(super) fn after_apply(
        &mut self,
        key: &Key,
        taken: &[LostField],
        created: bool,
        version: u64,
        at: At,
    ) {
        if let Some(mut drift) = self.drifts.remove(key) {
            let restored = drift.older.is_some_and(|older| older != version);
            if taken.is_empty() && !created && !restored {
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
        let again = at.plus(AGAIN).max(self.retry_at.unwrap_or_default());
        let change = |drift: &mut Drift| {
            drift.asked = false;
            drift.failed = true;
            drift.not_before = again;
        };
        if self.drifts.change(key, change).is_some() {
            self.begin_drift(key);
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
