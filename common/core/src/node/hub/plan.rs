//! Planning: which clusters something touched, and what their indexes should say.

use super::debt::Debt;
use super::step::Hub;
use crate::catalog::Placement;
use crate::desired::Change;
use crate::event::{Actor, Context, HubEvent, HubFact};
use crate::id::{AppId, ClusterName};
use crate::planner::{self, Variant, plan::Stay};
use crate::time::At;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Most clusters that one step plans; the rest follow at once in the next.
const PLANNED_PER_STEP: usize = 256;

/// Most rounds of planning in one step: the bound of a cascade.
const ROUNDS: usize = 8;

impl Hub {
    /// Plans every cluster that something touched.
    pub(super) fn settle(&mut self, at: At) {
        let mut left = PLANNED_PER_STEP;
        for _ in 0..ROUNDS {
            let names: Vec<ClusterName> = self.dirty.iter().take(left).cloned().collect();
            left -= names.len();
            if names.is_empty() {
                return;
            }
            for name in names {
                self.dirty.remove(&name);
                self.plan(&name, at);
            }
        }
    }

    fn plan(&mut self, name: &ClusterName, at: At) {
        let Some(known) = self.durable.clusters.clusters.get(name) else { return };
        let (mut placements, mut refused) = self.durable.placements(name, known);
        let (leaving, joined) = (known.leaving, known.enrolment.is_some());
        let stay = if leaving { Stay::Leaves } else { Stay::Stays };
        for (app, placement) in &placements {
            self.apps.entry(placement.variant.clone()).or_insert_with(|| app.clone());
        }
        self.place(name, placements.keys().cloned().collect());
        self.use_variants(name, placements.values().map(|placement| placement.variant.clone()).collect());
        refused.extend(self.hold_back(name, &mut placements));
        let mark = self.durable.planner.next_mark(name);
        let none = planner::Desired::default();
        let desired = self.durable.planner.fleet.get(name).unwrap_or(&none);
        let changes = planner::plan(&self.durable.planner, desired, &placements, &refused, stay, mark);
        self.refused.insert(name.clone(), refused);
        let settled = !desired.unadopted && !self.unheard.contains(name);
        if joined && settled && !changes.is_empty() {
            let bundle = changes.iter().find_map(|change| change.entry.as_ref());
            let mut context = Context::new(Actor::Hub, at).cluster(name);
            if let [only] = changes.as_slice() {
                context = context.app(&only.app);
            }
            if let Some(entry) = bundle {
                context = context.commit(&entry.commit).trace(entry.trace.clone());
            }
            context.cause = self.cause(&placements, &changes);
            self.record(HubEvent { context, fact: HubFact::IndexRaised { mark, changes } });
        }
    }

    /// What a plan follows from: the event of this step, or the newest of what its lines were made of.
    fn cause(&self, placements: &BTreeMap<AppId, Placement>, changes: &[Change]) -> Option<u64> {
        if !self.out.appends.is_empty() {
            return Some(self.out.first);
        }
        let placed = changes.iter().filter_map(|change| placements.get(&change.app));
        let rendered =
            |placement: &Placement| Some(self.durable.planner.bundles.get(&placement.variant)?.index);
        placed.map(|placement| placement.cause.max(rendered(placement).unwrap_or(0))).max()
    }

    /// Keeps count of who uses which variant; one that is new, or whose revision moved, is to be rendered.
    pub(super) fn use_variants(&mut self, name: &ClusterName, now: BTreeSet<Variant>) {
        let before = self.uses.insert(name.clone(), now.clone()).unwrap_or_default();
        for gone in before.difference(&now) {
            if let Some(users) = self.users.get_mut(gone) {
                users.remove(name);
                if users.is_empty() {
                    self.users.remove(gone);
                    self.apps.remove(gone);
                    self.refollow = true;
                }
            }
        }
        for variant in now {
            let head = self.durable.sources.head(&variant.track);
            if head.is_some_and(|head| self.rendered_at.get(&variant) != Some(&head.commit)) {
                self.book.owe(&Debt::Render(variant.clone()));
            }
            let users = self.users.entry(variant).or_default();
            self.refollow |= users.is_empty();
            users.insert(name.clone());
        }
    }

    /// The clusters on which Git has an app: as they were planned, and those that are to be planned as Git is now.
    pub(super) fn placed(&self, app: &AppId) -> Vec<ClusterName> {
        let planned = self.placed.get(app).into_iter().flatten().filter(|name| !self.dirty.contains(*name));
        let dirty = self.dirty.iter().filter(|name| {
            let known = self.durable.clusters.clusters.get(*name);
            known.is_some_and(|known| self.durable.placements(name, known).0.contains_key(app))
        });
        let placed: BTreeSet<&ClusterName> = planned.chain(dirty).collect();
        placed.into_iter().cloned().collect()
    }

    /// Keeps which clusters have which app.
    pub(super) fn place(&mut self, name: &ClusterName, now: BTreeSet<AppId>) {
        let before = self.has.remove(name).unwrap_or_default();
        for gone in before.difference(&now) {
            if let Some(clusters) = self.placed.get_mut(gone) {
                clusters.remove(name);
                if clusters.is_empty() {
                    self.placed.remove(gone);
                }
            }
        }
        for app in now.difference(&before) {
            self.placed.entry(app.clone()).or_default().insert(name.clone());
        }
        if !now.is_empty() {
            self.has.insert(name.clone(), now);
        }
    }
}
