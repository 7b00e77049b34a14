//! What one drain of an agent leads to.

use crate::disk::Write;
use std::collections::{BTreeMap, BTreeSet};
use taffrail_core::desired::Mark;
use taffrail_core::event::AgentEvent;
use taffrail_core::id::AppId;
use taffrail_core::node::agent::{Act, Outputs};
use taffrail_core::object::Key;

/// What one drain leads to.
#[derive(Default)]
pub(crate) struct Round {
    pub(crate) facts: Vec<AgentEvent>,
    pub(crate) dirty: BTreeSet<AppId>,
    pub(crate) items: BTreeMap<AppId, BTreeSet<Key>>,
    pub(crate) gone: Vec<AppId>,
    pub(crate) writes: Vec<Write>,
    /// Each with the index under which it was decided.
    pub(crate) acts: Vec<(Mark, Act)>,
}

impl Round {
    pub(crate) fn add(&mut self, out: Outputs, under: Mark) {
        let Outputs { facts, dirty, items, gone, acts, .. } = out;
        self.facts.extend(facts);
        self.dirty.extend(dirty);
        for (app, keys) in items {
            self.items.entry(app).or_default().extend(keys);
        }
        for app in gone {
            self.dirty.remove(&app);
            self.items.remove(&app);
            self.gone.push(app);
        }
        self.acts.extend(acts.into_iter().map(|act| (under, act)));
    }
}
