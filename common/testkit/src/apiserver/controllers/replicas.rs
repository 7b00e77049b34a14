//! `ReplicaSets`: as many pods as asked for, and a status that counts them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::kinds::Resource;
use super::super::state::{How, State, Target, controlled_by};
use super::super::store::{ObjectRef, meta};
use super::{MANAGER, Memory, controlled, owners};

pub(super) fn visit(state: &mut State, memory: &mut Memory, target: &Target, set: &Value) {
    let pods = pods_of(state, set);
    let wanted = usize::try_from(set["spec"]["replicas"].as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
    if pods.len() < wanted {
        for _ in pods.len()..wanted {
            make_pod(state, target, set);
        }
    } else if wanted < pods.len() {
        let mut order = pods.clone();
        // Pods that are not ready go first, then the youngest.
        order.sort_by_key(|(_, pod)| (is_ready(pod), std::cmp::Reverse(super::super::read::version_of(pod))));
        for (at, _) in order.into_iter().take(pods.len() - wanted) {
            owners::delete(state, &at);
        }
    }
    count(state, memory, target);
}

fn pods_of(state: &State, set: &Value) -> Vec<(ObjectRef, Arc<Value>)> {
    let mut pods = controlled(state, set, &Resource::new("", "pods"));
    pods.retain(|(_, pod)| {
        let over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        pod["metadata"]["deletionTimestamp"].is_null() && !over
    });
    pods
}

fn make_pod(state: &mut State, target: &Target, set: &Value) {
    let mut metadata = set["spec"]["template"]["metadata"].clone();
    metadata["generateName"] = json!(format!("{}-", target.name));
    metadata["ownerReferences"] = controlled_by(set);
    let body = json!({"metadata": metadata, "spec": set["spec"]["template"]["spec"]});
    let Some(pod) = state.target("v1", "Pod", &target.namespace, "") else { return };
    if let Err(refusal) = state.create(&pod, body, &How::controller(MANAGER)) {
        tracing::debug!(set = target.name, refusal = refusal.message, "pod not made");
    }
}

pub(super) fn is_ready(pod: &Value) -> bool {
    ready_since(pod).is_some()
}

fn ready_since(pod: &Value) -> Option<&str> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == json!("Ready"))?;
    (ready["status"] == json!("True")).then(|| ready["lastTransitionTime"].as_str().unwrap_or_default())
}

/// Whole seconds since a time in an object; 0 if it cannot be read.
pub(super) fn seconds_since(time: &str) -> u64 {
    let Ok(then) = time.parse::<jiff::Timestamp>() else { return 0 };
    u64::try_from(jiff::Timestamp::now().as_second() - then.as_second()).unwrap_or(0)
}

fn count(state: &mut State, memory: &mut Memory, target: &Target) {
    let Ok(set) = state.find(target) else { return };
    let pods = pods_of(state, &set);
    let hold = set["spec"]["minReadySeconds"].as_u64().unwrap_or(0);
    let ready = pods.iter().filter(|(_, pod)| is_ready(pod)).count();
    let available = pods
        .iter()
        .filter(|(_, pod)| ready_since(pod).is_some_and(|since| hold <= seconds_since(since)))
        .count();
    if available < ready {
        memory.wake(Instant::now() + Duration::from_millis(250), &target.at());
    }
    let mut object = (*set).clone();
    object["status"] = json!({
        "replicas": pods.len(),
        "fullyLabeledReplicas": pods.len(),
        "readyReplicas": ready,
        "availableReplicas": available,
        "observedGeneration": set["metadata"]["generation"],
        "terminatingReplicas": 0,
    });
    if meta(&set, "uid").is_empty() {
        return;
    }
    state.set_status(target, object, &How::controller(MANAGER));
}
