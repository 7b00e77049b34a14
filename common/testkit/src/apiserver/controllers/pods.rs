//! Pods: placed at once, and after a while running, or showing why not. The image says which.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::state::{How, State, Target, now};
use super::super::store::{meta, uid_of};
use super::Memory;

/// The one node.
const NODE: &str = "node-0";
/// The manager that pod statuses are written by.
const KUBELET: &str = "kubelet";

/// What a container comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Ready,
    /// The image cannot be had.
    NoImage,
    Crashes,
    NeverReady,
}

fn fate(image: &str) -> Fate {
    if image.contains("does-not-exist") || image.ends_with(":broken") {
        Fate::NoImage
    } else if image.contains("crash") {
        Fate::Crashes
    } else if image.contains("never-ready") {
        Fate::NeverReady
    } else {
        Fate::Ready
    }
}

pub(super) fn visit(state: &mut State, memory: &mut Memory, target: &Target, pod: &Value) {
    if pod["spec"]["nodeName"].is_null() {
        place(state, target, pod);
        return;
    }
    let settled = pod["status"]["containerStatuses"].is_array() || pod["status"]["phase"] != json!("Pending");
    if settled {
        return;
    }
    let now = Instant::now();
    let begun = *memory.begun.entry(uid_of(pod).to_owned()).or_insert(now);
    let due = begun + memory.pod_delay;
    if now < due {
        memory.wake(due, &target.at());
        return;
    }
    memory.begun.remove(uid_of(pod));
    let mut started = pod.clone();
    started["status"] = status_of(pod);
    state.set_status(target, started, &How::controller(KUBELET));
}

/// Gives the pod its node, or says that there is none for it.
fn place(state: &mut State, target: &Target, pod: &Value) {
    let wanted = pod["spec"]["nodeSelector"].as_object();
    let fits =
        wanted.into_iter().flatten().all(|(name, value)| name == "kubernetes.io/os" && value == "linux");
    if fits {
        state.edit(target, |pod| {
            pod["spec"]["nodeName"] = json!(NODE);
            pod["status"]["conditions"] = json!([condition("PodScheduled", true, "", "")]);
        });
        return;
    }
    if pod["status"]["conditions"].is_array() {
        return;
    }
    let mut waiting = pod.clone();
    let why = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
    waiting["status"]["conditions"] = json!([condition("PodScheduled", false, "Unschedulable", why)]);
    state.set_status(target, waiting, &How::controller("kube-scheduler"));
}

fn condition(kind: &str, holds: bool, reason: &str, message: &str) -> Value {
    let mut out = json!({
        "type": kind,
        "status": if holds { "True" } else { "False" },
        "lastProbeTime": null,
        "lastTransitionTime": now(),
    });
    if !reason.is_empty() {
        out["reason"] = json!(reason);
        out["message"] = json!(message);
    }
    out
}

fn status_of(pod: &Value) -> Value {
    let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let fates: Vec<Fate> =
        containers.iter().map(|container| fate(container["image"].as_str().unwrap_or_default())).collect();
    let statuses: Vec<Value> = containers
        .iter()
        .zip(&fates)
        .map(|(container, fate)| container_status(pod, container, *fate))
        .collect();
    let unready: Vec<&str> = containers
        .iter()
        .zip(&fates)
        .filter(|(_, fate)| **fate != Fate::Ready)
        .filter_map(|(container, _)| container["name"].as_str())
        .collect();
    let ready = unready.is_empty();
    let why = format!("containers with unready status: [{}]", unready.join(" "));
    let reason = if ready { "" } else { "ContainersNotReady" };
    json!({
        "phase": if fates.contains(&Fate::NoImage) { "Pending" } else { "Running" },
        "qosClass": pod["status"]["qosClass"],
        "startTime": now(),
        "hostIP": "127.0.0.1",
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "conditions": [
            condition("PodReadyToStartContainers", true, "", ""),
            condition("Initialized", true, "", ""),
            condition("Ready", ready, reason, &why),
            condition("ContainersReady", ready, reason, &why),
            condition("PodScheduled", true, "", ""),
        ],
        "containerStatuses": statuses,
    })
}

fn container_status(pod: &Value, container: &Value, fate: Fate) -> Value {
    let image = container["image"].as_str().unwrap_or_default();
    let name = container["name"].as_str().unwrap_or_default();
    let mut out = json!({
        "name": name,
        "image": image,
        "imageID": "",
        "ready": fate == Fate::Ready,
        "started": fate == Fate::Ready || fate == Fate::NeverReady,
        "restartCount": 0,
        "lastState": {},
        "state": {"running": {"startedAt": now()}},
    });
    match fate {
        Fate::NoImage => {
            let why = format!("Back-off pulling image {image:?}");
            out["state"] = json!({"waiting": {"reason": "ImagePullBackOff", "message": why}});
        }
        Fate::Crashes => {
            let about = format!("{}_{}({})", meta(pod, "name"), meta(pod, "namespace"), uid_of(pod));
            let why = format!("back-off 10s restarting failed container={name} pod={about}");
            out["state"] = json!({"waiting": {"reason": "CrashLoopBackOff", "message": why}});
            out["lastState"] = json!({"terminated": {
                "exitCode": 1,
                "reason": "Error",
                "startedAt": now(),
                "finishedAt": now(),
            }});
            out["restartCount"] = json!(2);
        }
        Fate::NeverReady | Fate::Ready => {}
    }
    out
}
