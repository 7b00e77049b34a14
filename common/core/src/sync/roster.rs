//! Health and departure of an instance's objects, with sums that are kept instead of counted again.
//!
//! Every answer asks what the app's health is, who is in trouble, and what is left to delete. With a thousand objects a
//! scan for each answer would cost more than the answers; here each change moves one object from one sum to another.

use crate::health::{Health, Judgement};
use crate::object::Key;
use crate::reconcile::plan::is_waited_for;
use crate::reconcile::prune::{Fate, Rules};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

/// Health by key, who leaves, and the sums over both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Roster {
    rules: Rules,
    health: BTreeMap<Key, Judgement>,
    leaving: BTreeMap<Key, Fate>,
    /// Objects in the inventory.
    members: usize,
    /// Workloads in the inventory.
    workloads: usize,
    sums: Sums,
}

/// Sums over the objects that stay, and the fates of those that do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sums {
    /// Judged and missing.
    missing: usize,
    /// Judged and not missing.
    live: usize,
    /// By health, of what counts and is not missing.
    counted: BTreeMap<Health, usize>,
    /// With a cause, degraded or unknown.
    ill: BTreeSet<Key>,
    /// Workloads on their way or missing, named once their time is over.
    late: BTreeSet<Key>,
    /// Workloads that were judged and are well.
    well: usize,
    /// Workloads that leave.
    leaving: usize,
    delete: BTreeSet<Key>,
    held: BTreeSet<Key>,
    kept: usize,
}

impl Roster {
    pub(super) fn new(rules: Rules) -> Roster {
        let (health, leaving) = (BTreeMap::new(), BTreeMap::new());
        Roster { rules, health, leaving, members: 0, workloads: 0, sums: Sums::default() }
    }

    /// An object entered the inventory.
    pub(super) fn enter(&mut self, key: &Key) {
        self.members += 1;
        self.workloads += usize::from(is_waited_for(key));
    }

    /// An object left the inventory.
    pub(super) fn exit(&mut self, key: &Key) {
        self.members -= 1;
        self.workloads -= usize::from(is_waited_for(key));
        self.forget(key);
    }

    pub(super) fn health(&self, key: &Key) -> Option<&Judgement> {
        self.health.get(key)
    }

    pub(super) fn leaves(&self, key: &Key) -> bool {
        self.leaving.contains_key(key)
    }

    /// Objects that left the bundle.
    pub(super) fn leaving(&self) -> impl Iterator<Item = &Key> {
        self.leaving.keys()
    }

    /// Other rules: every fate is found anew. `keep` says which objects carry `Prune=false`.
    pub(super) fn rule(&mut self, rules: Rules, keep: impl Fn(&Key) -> bool) {
        if self.rules != rules {
            self.rules = rules;
            let leaving = core::mem::take(&mut self.leaving).into_keys().collect();
            self.leave(leaving, keep);
        }
    }

    /// These objects, and no others, left the bundle.
    pub(super) fn leave(&mut self, leaving: BTreeSet<Key>, keep: impl Fn(&Key) -> bool) {
        let rules = self.rules;
        let fates = leaving.into_iter().map(|key| {
            let fate = rules.fate(&key, keep(&key));
            (key, fate)
        });
        self.leaving = fates.collect();
        self.sums = sums(&self.health, &self.leaving);
    }

    /// An object carries `Prune=false`, or does so no more.
    pub(super) fn keep(&mut self, key: &Key, keep: bool) {
        if let Some(known) = self.leaving.get(key).copied() {
            let now = self.rules.fate(key, keep);
            self.sums.forget_fate(key, known);
            self.sums.take_fate(key, now);
            self.leaving.insert(key.clone(), now);
        }
    }

    pub(super) fn judge(&mut self, key: &Key, judgement: Judgement) {
        let stays = !self.leaves(key);
        if stays && let Some(known) = self.health.get(key) {
            self.sums.forget(key, known);
        }
        if stays {
            self.sums.take(key, &judgement);
        }
        self.health.insert(key.clone(), judgement);
    }

    /// Nothing is known of an object any more, and it does not leave.
    pub(super) fn forget(&mut self, key: &Key) {
        let known = self.health.remove(key);
        match (self.leaving.remove(key), known) {
            (Some(fate), _) => self.sums.forget_fate(key, fate),
            (None, Some(judged)) => self.sums.forget(key, &judged),
            (None, None) => {}
        }
    }

    /// The worst health of what stays; single missing objects do not count ([`crate::health::of_app`]).
    pub(super) fn worst(&self) -> Health {
        let Sums { missing, live, counted, .. } = &self.sums;
        let worst = match (*live, *missing) {
            (0, 1..) => Health::Missing,
            _ => counted.last_key_value().map_or(Health::Healthy, |(health, _)| *health),
        };
        let judged = live + missing + self.leaving.len();
        if judged < self.members && worst < Health::Progressing { Health::Progressing } else { worst }
    }

    /// Objects in trouble in the order of their keys; `overdue`: those that are late too.
    pub(super) fn troubled(&self, overdue: bool) -> impl Iterator<Item = (&Key, &Judgement)> {
        let mut ill = self.sums.ill.iter().peekable();
        let mut late = self.sums.late.iter().take(if overdue { usize::MAX } else { 0 }).peekable();
        let next = core::iter::from_fn(move || match (ill.peek(), late.peek()) {
            (Some(one), Some(other)) if other < one => late.next(),
            (Some(_), _) => ill.next(),
            (None, _) => late.next(),
        });
        next.filter_map(|key| Some((key, self.health.get(key)?)))
    }

    /// Workloads that stay and are not well.
    pub(super) fn pending(&self) -> usize {
        self.workloads.saturating_sub(self.sums.leaving + self.sums.well)
    }

    pub(super) fn delete(&self) -> &BTreeSet<Key> {
        &self.sums.delete
    }

    pub(super) fn held(&self) -> &BTreeSet<Key> {
        &self.sums.held
    }

    pub(super) fn kept(&self) -> usize {
        self.sums.kept
    }

    /// The oracle: the sums counted again over an inventory that says which of its objects carry `Prune=false`.
    pub(super) fn check(&self, rules: Rules, inventory: &BTreeMap<&Key, bool>) -> Result<(), String> {
        let keep = |key: &Key| inventory.get(key).copied();
        let stray = self.health.keys().chain(self.leaving.keys()).find(|key| keep(key).is_none());
        if let Some(key) = stray {
            return Err(format!("{key} is not in the inventory"));
        }
        let wrong =
            |(key, known): &(&Key, &Fate)| keep(key).is_none_or(|keep| **known != rules.fate(key, keep));
        if let Some((key, _)) = self.leaving.iter().find(wrong) {
            return Err(format!("the fate of {key} is another one"));
        }
        let workloads = inventory.keys().filter(|key| is_waited_for(key)).count();
        let counted = (inventory.len(), workloads, sums(&self.health, &self.leaving));
        let kept = (self.members, self.workloads, &self.sums);
        if kept == (counted.0, counted.1, &counted.2) {
            Ok(())
        } else {
            Err(format!("{kept:?} is {counted:?}"))
        }
    }
}

fn sums(health: &BTreeMap<Key, Judgement>, leaving: &BTreeMap<Key, Fate>) -> Sums {
    let mut sums = Sums::default();
    for (key, judged) in health.iter().filter(|(key, _)| !leaving.contains_key(*key)) {
        sums.take(key, judged);
    }
    for (key, fate) in leaving {
        sums.take_fate(key, *fate);
    }
    sums
}

pub(super) fn is_well(judgement: &Judgement) -> bool {
    matches!(judgement.health, Health::Healthy | Health::Suspended)
}

impl Sums {
    fn take(&mut self, key: &Key, judged: &Judgement) {
        if judged.health == Health::Missing {
            self.missing += 1;
        } else {
            self.live += 1;
            if judged.counted {
                *self.counted.entry(judged.health).or_default() += 1;
            }
        }
        self.well += usize::from(is_waited_for(key) && is_well(judged));
        match trouble(key, judged) {
            Some(true) => drop(self.ill.insert(key.clone())),
            Some(false) => drop(self.late.insert(key.clone())),
            None => {}
        }
    }

    fn forget(&mut self, key: &Key, judged: &Judgement) {
        if judged.health == Health::Missing {
            self.missing -= 1;
        } else {
            self.live -= 1;
            if judged.counted
                && let Some(count) = self.counted.get_mut(&judged.health)
            {
                *count -= 1;
                if *count == 0 {
                    self.counted.remove(&judged.health);
                }
            }
        }
        self.well -= usize::from(is_waited_for(key) && is_well(judged));
        self.ill.remove(key);
        self.late.remove(key);
    }

    fn take_fate(&mut self, key: &Key, fate: Fate) {
        self.leaving += usize::from(is_waited_for(key));
        match fate {
            Fate::Delete => drop(self.delete.insert(key.clone())),
            Fate::Held => drop(self.held.insert(key.clone())),
            Fate::Kept => self.kept += 1,
        }
    }

    fn forget_fate(&mut self, key: &Key, fate: Fate) {
        self.leaving -= usize::from(is_waited_for(key));
        match fate {
            Fate::Delete => drop(self.delete.remove(key)),
            Fate::Held => drop(self.held.remove(key)),
            Fate::Kept => self.kept -= 1,
        }
    }
}

/// Whether an object is in trouble: now, or (`false`) once its time is over.
fn trouble(key: &Key, judged: &Judgement) -> Option<bool> {
    if !judged.counted {
        return None;
    }
    match judged.health {
        _ if judged.cause.is_some() => Some(true),
        Health::Degraded | Health::Unknown => Some(true),
        Health::Progressing | Health::Missing => is_waited_for(key).then_some(false),
        Health::Healthy | Health::Suspended => None,
    }
}
