//! What is known of one instance: durable inventory, volatile work.

use super::ports::{Effect, Fingerprint, Object, Problem};
use crate::desired::{Entry, Mark};
use crate::digest::Digest;
use crate::event::AgentFact;
use crate::event::agent::Status;
use crate::health::{Health, Judgement};
use crate::id::CommitId;
use crate::object::Key;
use crate::reconcile::fight::Fights;
use crate::time::{At, Span};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// Bounds that the operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests of one instance in flight. Default 8: more were no faster on a real API server.
    pub in_flight: usize,
    /// How long a new state may take to become healthy before that is named. Default 300 s.
    pub health_timeout: Span,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { in_flight: 8, health_timeout: Span::secs(300) }
    }
}

/// One object of the inventory. Durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// API version without the group.
    pub version: String,
    /// Digest of what was last applied; zero before the first time.
    pub content: Digest,
    /// The commit that last changed it.
    pub commit: CommitId,
    /// UID, empty before the first time.
    pub uid: String,
    /// Fingerprint of the fields that we own.
    pub owned: u64,
    /// It carries `Prune=false`.
    pub keep: bool,
}

impl Item {
    /// Whether it was applied at least once: before that nothing of it is ours.
    pub fn is_applied(&self) -> bool {
        self.content != Digest::default()
    }
}

/// What an instance is doing. Volatile: a restart begins with `Loading`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The bundle is being fetched.
    Loading,
    /// A guard holds it.
    Parked,
    /// The inventory is being written.
    Storing,
    /// Objects are being applied.
    Applying,
    /// Everything is applied; health is waited for before anything is deleted.
    Settling,
    /// What left the bundle is being deleted.
    Pruning,
    /// Nothing to do.
    Resting,
    /// Everything is being deleted.
    Withdrawing,
    /// Gone.
    Gone,
}

/// A drift that is not healed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own about one drift")]
pub struct Drift {
    /// First sight.
    pub since: At,
    /// The whole object is gone.
    pub gone: bool,
    /// `DriftBegun` was stated.
    pub begun: bool,
    /// Which fields, once known.
    pub fields: Vec<String>,
    /// Who took them.
    pub manager: String,
    /// Not before this time: somebody fights.
    pub not_before: At,
    /// A request about it is in flight.
    pub asked: bool,
    /// More fields were lost since it was looked at: the wait may not be theirs.
    pub look: bool,
}

/// What a step left in an instance for its node.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Facts with their time.
    pub facts: Vec<(AgentFact, At)>,
    /// Orders to the shell.
    pub effects: Vec<Effect>,
    /// The durable part changed.
    pub dirty: bool,
    /// Keys entered or left the inventory.
    pub members_changed: bool,
}

/// One app on this cluster.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says of one thing whether it waits or changed")]
pub struct Instance {
    /// What the index says. Durable.
    pub entry: Entry,
    /// The inventory. Durable.
    pub items: BTreeMap<Key, Item>,
    /// The bundle that is applied completely, if one is. Durable.
    pub applied: Option<(Mark, Digest)>,
    /// The last state that was stated as an event. Durable.
    pub stated: Option<Status>,

    pub(super) limits: Limits,
    /// A restored hub has not adopted this cluster yet: nothing is deleted.
    pub(super) holds: bool,
    pub(super) run: u64,
    pub(super) step: Step,
    pub(super) objects: BTreeMap<Key, Object>,
    pub(super) holds_objects: bool,
    pub(super) stages: Vec<Vec<Key>>,
    pub(super) in_flight: BTreeSet<Key>,
    pub(super) waiting: bool,
    pub(super) draining: bool,
    pub(super) problems: BTreeMap<Key, Problem>,
    pub(super) trouble: Option<String>,
    pub(super) attempt: u32,
    pub(super) retry_at: Option<At>,
    pub(super) settle_by: Option<At>,
    pub(super) overdue: bool,
    pub(super) leaving: BTreeSet<Key>,
    pub(super) deleted: Vec<Key>,
    pub(super) storing: Option<u64>,
    pub(super) store_again: bool,
    pub(super) unstored: bool,
    pub(super) unsaved: u32,
    pub(super) live: BTreeMap<Key, Fingerprint>,
    pub(super) health: BTreeMap<Key, Judgement>,
    pub(super) inspect_at: BTreeMap<Key, At>,
    pub(super) inspecting: BTreeSet<Key>,
    pub(super) unlooked: BTreeSet<Key>,
    pub(super) drifts: BTreeMap<Key, Drift>,
    pub(super) fights: Fights,
    pub(super) stated_at: Vec<At>,
    pub(super) state_after: Option<At>,
    pub(super) flaps: u32,
    pub(super) folded: Option<Health>,
    pub(super) dirty: bool,
    pub(super) members_changed: bool,
    pub(super) facts: Vec<(AgentFact, At)>,
    pub(super) effects: Vec<Effect>,
}

impl Instance {
    /// An instance as the journal has it, or a new one.
    pub fn new(
        entry: Entry,
        items: BTreeMap<Key, Item>,
        applied: Option<(Mark, Digest)>,
        stated: Option<Status>,
        limits: Limits,
    ) -> Instance {
        let unstored = applied.is_none() || items.values().any(|item| !item.is_applied());
        Instance {
            entry,
            items,
            applied,
            stated,
            limits,
            holds: false,
            run: 0,
            step: Step::Loading,
            objects: BTreeMap::new(),
            holds_objects: false,
            stages: Vec::new(),
            in_flight: BTreeSet::new(),
            waiting: false,
            draining: false,
            problems: BTreeMap::new(),
            trouble: None,
            attempt: 0,
            retry_at: None,
            settle_by: None,
            overdue: false,
            leaving: BTreeSet::new(),
            deleted: Vec::new(),
            storing: None,
            store_again: false,
            unstored,
            unsaved: 0,
            live: BTreeMap::new(),
            health: BTreeMap::new(),
            inspect_at: BTreeMap::new(),
            inspecting: BTreeSet::new(),
            unlooked: BTreeSet::new(),
            drifts: BTreeMap::new(),
            fights: Fights::default(),
            stated_at: Vec::new(),
            state_after: None,
            flaps: 0,
            folded: None,
            dirty: true,
            members_changed: true,
            facts: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// What it is doing.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Health of an object, if it was judged.
    pub fn health_of(&self, key: &Key) -> Option<&Judgement> {
        self.health.get(key)
    }

    /// Takes what was stated, what is asked for, and what changed.
    pub fn take(&mut self) -> Taken {
        Taken {
            facts: core::mem::take(&mut self.facts),
            effects: core::mem::take(&mut self.effects),
            dirty: core::mem::take(&mut self.dirty),
            members_changed: core::mem::take(&mut self.members_changed),
        }
    }

    /// The number of the last run: responses of other runs are not for the entry in force.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Numbers runs from `last` on, so that no response to an instance that was here before is taken for one to this.
    pub fn runs_after(&mut self, last: u64) {
        self.run = self.run.max(last);
    }

    /// When it must be woken. Never for something that waits for a response.
    pub fn next_wake(&self) -> Option<At> {
        let look = self.inspect_at.iter().filter(|(key, _)| self.may_inspect(key)).map(|(_, at)| *at);
        let look = if self.inspecting.len() < self.limits.in_flight { look.min() } else { None };
        let heals = self.entry.policy.self_heal
            && self.tends()
            && !self.waiting
            && (self.holds_objects || self.retry_at.is_none())
            && self.busy() < self.limits.in_flight;
        let waits =
            |(key, drift): &(&Key, &Drift)| !drift.asked && drift.not_before > At(0) && !self.is_busy(key);
        let drift = self.drifts.iter().filter(waits).map(|(_, drift)| drift.not_before);
        let drift = if heals { drift.min() } else { None };
        [self.retry_at, self.settle_by, self.state_after, drift, look].into_iter().flatten().min()
    }

    /// Whether everything is applied, so that drift is to be healed.
    pub(super) fn tends(&self) -> bool {
        matches!(self.step, Step::Settling | Step::Pruning | Step::Resting)
    }

    /// Requests about single objects that are in flight.
    pub(super) fn busy(&self) -> usize {
        self.in_flight.len() + self.inspecting.len()
    }

    pub(super) fn is_busy(&self, key: &Key) -> bool {
        self.in_flight.contains(key) || self.inspecting.contains(key)
    }

    pub(super) fn may_inspect(&self, key: &Key) -> bool {
        !self.is_busy(key)
    }
}
