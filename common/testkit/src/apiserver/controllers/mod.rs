//! What the controllers of a cluster do: owners, namespaces and definitions that end, Deployments, `ReplicaSets`, pods.
//!
//! One task looks at what changed since it looked last, and at what is due.

mod deployments;
mod owners;
mod pods;
mod replicas;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::kinds::Resource;
use super::server::Shared;
use super::state::{How, State, Target, is_released};
use super::store::{ObjectRef, uid_of};

/// The manager that controllers write as.
const MANAGER: &str = "kube-controller-manager";
/// Rounds in one go, so that two controllers that undo each other cannot stop the server.
const ROUNDS_MAX: usize = 64;
/// Wakes up at the latest, should nothing be due.
const IDLE: Duration = Duration::from_mins(1);

/// What the controllers remember between two looks.
#[derive(Debug, Default)]
struct Memory {
    due: BTreeMap<Instant, BTreeSet<ObjectRef>>,
    /// Objects that are being deleted and wait for others.
    ending: BTreeSet<ObjectRef>,
    /// The controller of each object that has one.
    parents: BTreeMap<ObjectRef, ObjectRef>,
    /// When each pod without a result began.
    begun: BTreeMap<String, Instant>,
    pod_delay: Duration,
}

impl Memory {
    fn wake(&mut self, at: Instant, object: &ObjectRef) {
        self.due.entry(at).or_default().insert(object.clone());
    }

    fn take_due(&mut self, now: Instant) -> BTreeSet<ObjectRef> {
        let mut out = BTreeSet::new();
        while let Some(first) = self.due.first_entry().filter(|first| *first.key() <= now) {
            out.extend(first.remove());
        }
        out
    }
}

/// Runs until the server stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut changed = shared.changed.subscribe();
    let mut memory = Memory { pod_delay: shared.options.pod_delay, ..Memory::default() };
    loop {
        changed.mark_unchanged();
        shared.change(|state| look(state, &mut memory));
        let wake = memory.due.first_key_value().map_or_else(|| Instant::now() + IDLE, |(at, _)| *at);
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(wake) => {}
            () = shared.stopping.cancelled() => return,
        }
    }
}

fn look(state: &mut State, memory: &mut Memory) {
    for _ in 0..ROUNDS_MAX {
        let (mut dirty, gone) = state.store.take_dirty();
        dirty.extend(memory.take_due(Instant::now()));
        if dirty.is_empty() && gone.is_empty() {
            return;
        }
        for uid in &gone {
            memory.begun.remove(uid);
            owners::gone(state, uid);
        }
        for at in dirty {
            visit(state, memory, &at);
        }
        for at in memory.ending.clone() {
            if owners::end(state, &at) {
                memory.ending.remove(&at);
            }
        }
    }
}

fn visit(state: &mut State, memory: &mut Memory, at: &ObjectRef) {
    let Some(object) = state.store.at(at) else {
        if let Some(parent) = memory.parents.remove(at) {
            visit(state, memory, &parent);
        }
        return;
    };
    if owners::is_orphaned(state, &object) {
        owners::delete(state, at);
        return;
    }
    if !object["metadata"]["deletionTimestamp"].is_null() {
        memory.ending.insert(at.clone());
        return;
    }
    if let Some(parent) = controller_of(state, &object) {
        memory.parents.insert(at.clone(), parent);
    }
    let Some(target) = state.target_at(at) else { return };
    match (at.resource.group.as_str(), at.resource.plural.as_str()) {
        ("", "pods") => pods::visit(state, memory, &target, &object),
        ("apps", "replicasets") => replicas::visit(state, memory, &target, &object),
        ("apps", "deployments") => deployments::visit(state, memory, &target, &object),
        _ => return,
    }
    if let Some(parent) = memory.parents.get(at).cloned() {
        visit(state, memory, &parent);
    }
}

fn controller_of(state: &State, object: &Value) -> Option<ObjectRef> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == Value::Bool(true))?;
    state.store.with_uid(owner["uid"].as_str()?).cloned()
}

/// The objects of one kind that this one controls, by name.
fn controlled(state: &State, owner: &Value, resource: &Resource) -> Vec<(ObjectRef, Arc<Value>)> {
    let all = state.store.dependents(uid_of(owner)).into_iter().filter(|at| at.resource == *resource);
    all.filter_map(|at| state.store.at(&at).map(|object| (at, object))).collect()
}

impl State {
    /// Changes an object as a controller does.
    fn modify(&mut self, target: &Target, change: impl FnOnce(&mut Value)) {
        let Ok(live) = self.find(target) else { return };
        let mut object = (*live).clone();
        change(&mut object);
        if let Err(refusal) = self.update(target, object, &How::controller(MANAGER)) {
            tracing::debug!(object = target.name, refusal = refusal.message, "controller's change refused");
        }
    }

    /// Changes what no manager owns, such as finalizers; removes the object when nothing holds it any more.
    fn edit(&mut self, target: &Target, change: impl FnOnce(&mut Value)) {
        let Ok(live) = self.find(target) else { return };
        let mut object = (*live).clone();
        change(&mut object);
        if is_released(&object) {
            self.remove(target);
        } else if object != *live {
            self.store.put(&target.at(), object);
        }
    }
}
