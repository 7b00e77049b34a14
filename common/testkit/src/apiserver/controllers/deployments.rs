//! Deployments: a `ReplicaSet` per template, rolled over without losing availability, and the status that health rules read.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::defaults::fill;
use super::super::kinds::Resource;
use super::super::state::{How, State, Target, controlled_by, now};
use super::super::store::{ObjectRef, meta};
use super::replicas::seconds_since;
use super::{MANAGER, Memory, controlled};

const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH: &str = "pod-template-hash";

type Set = (ObjectRef, Arc<Value>);

pub(super) fn visit(state: &mut State, memory: &mut Memory, target: &Target, _seen: &Value) {
    let Ok(deployment) = state.find(target) else { return };
    let paused = deployment["spec"]["paused"] == json!(true);
    let sets = controlled(state, &deployment, &Resource::new("apps", "replicasets"));
    let current = sets.iter().position(|(_, set)| same_template(set, &deployment));
    let mut made = None;
    if current.is_none() && !paused {
        made = make_set(state, target, &deployment, &sets);
    }
    let sets = controlled(state, &deployment, &Resource::new("apps", "replicasets"));
    let (new, old): (Vec<Set>, Vec<Set>) =
        sets.into_iter().partition(|(_, set)| same_template(set, &deployment));
    if let (Some(new), false) = (new.first(), paused) {
        renumber(state, new, &old);
        roll(state, &deployment, new, &old);
    }
    let new = new.first().and_then(|(at, _)| state.store.at(at).map(|set| (at.clone(), set)));
    let old: Vec<Set> =
        old.iter().filter_map(|(at, _)| state.store.at(at).map(|set| (at.clone(), set))).collect();
    report(state, memory, target, new.as_ref(), &old, made.as_deref());
}

fn bare_template(object: &Value) -> Value {
    let mut template = object["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    template
}

fn same_template(set: &Value, deployment: &Value) -> bool {
    bare_template(set) == bare_template(deployment)
}

fn hash_of(deployment: &Value) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hasher = DefaultHasher::new();
    bare_template(deployment).to_string().hash(&mut hasher);
    let mut left = hasher.finish();
    let mut out = String::new();
    for _ in 0..10 {
        out.push(char::from(LETTERS[usize::try_from(left % 27).unwrap_or(0)]));
        left /= 27;
    }
    out
}

fn revision(set: &Value) -> u64 {
    set["metadata"]["annotations"][REVISION].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Makes the `ReplicaSet` of the template; gives its name.
fn make_set(state: &mut State, target: &Target, deployment: &Value, old: &[Set]) -> Option<String> {
    let hash = hash_of(deployment);
    let name = format!("{}-{hash}", target.name);
    let number = 1 + old.iter().map(|(_, set)| revision(set)).max().unwrap_or(0);
    let mut template = deployment["spec"]["template"].clone();
    fill(&mut template, "metadata", json!({}));
    fill(&mut template["metadata"], "labels", json!({}));
    template["metadata"]["labels"][HASH] = json!(hash);
    let mut selector = deployment["spec"]["selector"].clone();
    fill(&mut selector, "matchLabels", json!({}));
    selector["matchLabels"][HASH] = json!(hash);
    let body = json!({
        "metadata": {
            "name": name,
            "labels": template["metadata"]["labels"],
            "annotations": {REVISION: number.to_string()},
            "ownerReferences": controlled_by(deployment),
        },
        "spec": {
            "replicas": 0,
            "minReadySeconds": deployment["spec"]["minReadySeconds"],
            "selector": selector,
            "template": template,
        },
    });
    let set = state.target("apps/v1", "ReplicaSet", &target.namespace, &name)?;
    match state.create(&set, body, &How::controller(MANAGER)) {
        Ok(_) => Some(name),
        Err(refusal) => {
            tracing::debug!(set = name, refusal = refusal.message, "ReplicaSet not made");
            None
        }
    }
}

/// The set of the wanted template has the highest revision, also when it is an old one that comes back.
fn renumber(state: &mut State, new: &Set, old: &[Set]) {
    let highest = old.iter().map(|(_, set)| revision(set)).max().unwrap_or(0);
    if highest < revision(&new.1) {
        return;
    }
    if let Some(target) = state.target_at(&new.0) {
        state.modify(&target, |set| {
            fill(&mut set["metadata"], "annotations", json!({}));
            set["metadata"]["annotations"][REVISION] = json!((highest + 1).to_string());
        });
    }
}

fn number(object: &Value, part: &str, field: &str) -> u64 {
    object[part][field].as_u64().unwrap_or(0)
}

fn scale(state: &mut State, set: &Set, replicas: u64) {
    if number(&set.1, "spec", "replicas") == replicas {
        return;
    }
    if let Some(target) = state.target_at(&set.0) {
        state.modify(&target, |set| set["spec"]["replicas"] = json!(replicas));
    }
}

/// A number or a percentage of the replicas.
fn share(value: &Value, of: u64, up: bool) -> u64 {
    if let Some(number) = value.as_u64() {
        return number;
    }
    let percent: u64 = value.as_str().and_then(|text| text.strip_suffix('%')?.parse().ok()).unwrap_or(0);
    if up { (of * percent).div_ceil(100) } else { of * percent / 100 }
}

/// How many pods may be more, and fewer, than wanted.
fn slack(deployment: &Value) -> (u64, u64) {
    let wanted = number(deployment, "spec", "replicas");
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    let surge = share(&rolling["maxSurge"], wanted, true);
    let missing = share(&rolling["maxUnavailable"], wanted, false);
    (surge, if surge == 0 && missing == 0 { 1 } else { missing.min(wanted) })
}

fn roll(state: &mut State, deployment: &Value, new: &Set, old: &[Set]) {
    let wanted = number(deployment, "spec", "replicas");
    let asked = |set: &Set| number(&set.1, "spec", "replicas");
    let old_asked: u64 = old.iter().map(asked).sum();
    if deployment["spec"]["strategy"]["type"] == json!("Recreate") {
        for set in old {
            scale(state, set, 0);
        }
        if old.iter().all(|set| number(&set.1, "status", "replicas") == 0) {
            scale(state, new, wanted);
        }
        return;
    }
    let (surge, missing) = slack(deployment);
    if asked(new) > wanted {
        scale(state, new, wanted);
        return;
    }
    let room = (wanted + surge).saturating_sub(asked(new) + old_asked);
    let grown = wanted.min(asked(new) + room);
    if grown != asked(new) {
        scale(state, new, grown);
        return;
    }
    let unavailable = asked(new).saturating_sub(number(&new.1, "status", "availableReplicas"));
    let least = wanted.saturating_sub(missing);
    let mut may_go = (asked(new) + old_asked).saturating_sub(least + unavailable);
    // Pods of old sets that do not serve go first: nothing is lost with them.
    for set in old {
        let idle = asked(set).saturating_sub(number(&set.1, "status", "availableReplicas")).min(may_go);
        if idle > 0 {
            may_go -= idle;
            scale(state, set, asked(set) - idle);
        }
    }
    let refreshed: Vec<Set> =
        old.iter().filter_map(|(at, _)| state.store.at(at).map(|set| (at.clone(), set))).collect();
    let serving: u64 =
        refreshed.iter().chain([new]).map(|set| number(&set.1, "status", "availableReplicas")).sum();
    let mut may_go = serving.saturating_sub(least).min(may_go);
    for set in &refreshed {
        let step = asked(set).min(may_go);
        if step > 0 {
            may_go -= step;
            scale(state, set, asked(set) - step);
        }
    }
}

fn condition(kind: &str, holds: bool, reason: &str, message: &str) -> Value {
    let status = if holds { "True" } else { "False" };
    let now = now();
    json!({
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastUpdateTime": now,
        "lastTransitionTime": now,
    })
}

fn find<'a>(conditions: &'a [Value], kind: &str) -> Option<&'a Value> {
    conditions.iter().find(|condition| condition["type"] == json!(kind))
}

/// Puts a condition in; nothing changes if it says the same already, unless `anew`.
fn put(conditions: &mut Vec<Value>, mut condition: Value, anew: bool) {
    let kind = condition["type"].as_str().unwrap_or_default().to_owned();
    if let Some(known) = find(conditions, &kind) {
        let same = known["status"] == condition["status"] && known["reason"] == condition["reason"];
        if same && !anew {
            return;
        }
        if known["status"] == condition["status"] {
            condition["lastTransitionTime"] = known["lastTransitionTime"].clone();
        }
    }
    conditions.retain(|known| known["type"].as_str() != Some(&kind));
    conditions.push(condition);
}

fn report(
    state: &mut State,
    memory: &mut Memory,
    target: &Target,
    new: Option<&Set>,
    old: &[Set],
    made: Option<&str>,
) {
    let Ok(deployment) = state.find(target) else { return };
    let sum = |field: &str| -> u64 { old.iter().chain(new).map(|set| number(&set.1, "status", field)).sum() };
    let asked: u64 = old.iter().chain(new).map(|set| number(&set.1, "spec", "replicas")).sum();
    let wanted = number(&deployment, "spec", "replicas");
    let (_, missing) = slack(&deployment);
    let available = sum("availableReplicas");
    let mut status = json!({
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": sum("replicas"),
        "updatedReplicas": new.map_or(0, |set| number(&set.1, "status", "replicas")),
        "readyReplicas": sum("readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": asked.saturating_sub(available),
        "terminatingReplicas": 0,
    });
    let mut conditions = deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
    if let Some(name) = made {
        let what = format!("Created new replica set {name:?}");
        put(&mut conditions, condition("Progressing", true, "NewReplicaSetCreated", &what), false);
    }
    let enough = available >= wanted.saturating_sub(missing);
    put(
        &mut conditions,
        if enough {
            condition("Available", true, "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            let why = "Deployment does not have minimum availability.";
            condition("Available", false, "MinimumReplicasUnavailable", why)
        },
        false,
    );
    let name = new.map_or_else(|| target.name.clone(), |(at, _)| at.name.1.clone());
    progress(memory, target, &deployment, &status, &mut conditions, &name);
    status["conditions"] = Value::Array(conditions);
    let mut object = (*deployment).clone();
    object["status"] = status;
    if let Some((_, set)) = new {
        fill(&mut object["metadata"], "annotations", json!({}));
        object["metadata"]["annotations"][REVISION] = json!(revision(set).to_string());
    }
    if meta(&object, "name").is_empty() {
        return;
    }
    state.set_status(target, object, &How::controller(MANAGER));
}

/// The condition `Progressing`, as its deadline and the counts say.
fn progress(
    memory: &mut Memory,
    target: &Target,
    deployment: &Value,
    status: &Value,
    conditions: &mut Vec<Value>,
    set: &str,
) {
    let wanted = number(deployment, "spec", "replicas");
    let count = |field: &str| status[field].as_u64().unwrap_or(0);
    let before = |field: &str| number(deployment, "status", field);
    let reason = find(conditions, "Progressing")
        .and_then(|known| known["reason"].as_str())
        .unwrap_or_default()
        .to_owned();
    if count("replicas") == count("updatedReplicas") && reason == "NewReplicaSetAvailable" {
        return;
    }
    let complete =
        ["updatedReplicas", "replicas", "availableReplicas"].iter().all(|field| count(field) == wanted);
    let stale = |all: u64, updated: u64| all.saturating_sub(updated);
    let moves = count("updatedReplicas") > before("updatedReplicas")
        || stale(count("replicas"), count("updatedReplicas"))
            < stale(before("replicas"), before("updatedReplicas"))
        || count("readyReplicas") > before("readyReplicas")
        || count("availableReplicas") > before("availableReplicas");
    if complete {
        let what = format!("ReplicaSet {set:?} has successfully progressed.");
        put(conditions, condition("Progressing", true, "NewReplicaSetAvailable", &what), false);
        return;
    }
    if moves {
        let what = format!("ReplicaSet {set:?} is progressing.");
        put(conditions, condition("Progressing", true, "ReplicaSetUpdated", &what), true);
    }
    let Some(deadline) = deployment["spec"]["progressDeadlineSeconds"].as_u64() else { return };
    let since = find(conditions, "Progressing").and_then(|known| known["lastUpdateTime"].as_str());
    let Some(since) = since.filter(|_| reason != "ProgressDeadlineExceeded" || moves) else { return };
    let passed = seconds_since(since);
    if deadline < passed {
        let what = format!("ReplicaSet {set:?} has timed out progressing.");
        put(conditions, condition("Progressing", false, "ProgressDeadlineExceeded", &what), false);
    } else {
        memory.wake(Instant::now() + Duration::from_secs(deadline + 1 - passed), &target.at());
    }
}
