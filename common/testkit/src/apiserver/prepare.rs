//! What the API server sets by itself when an object is made: addresses, first statuses. Nobody owns these fields.

use serde_json::{Value, json};

use super::defaults::{each, fill};
use super::kinds::Kind;
use super::values;

/// First of the addresses and ports that Services are given.
const NODE_PORT_FIRST: u64 = 30_000;
const NODE_PORTS: u64 = 2_768;

/// Sets what a new object has from the server. `serial` numbers the objects of this server.
pub(crate) fn created(kind: &Kind, object: &mut Value, serial: u64, now: &str) {
    if kind.custom {
        return;
    }
    if kind.has_status && !kind.is("", "Node") {
        let blank = values::blank(&kind.schema, &kind.of, false);
        object["status"] = blank["status"].clone();
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => {
            object["spec"]["finalizers"] = json!(["kubernetes"]);
            object["status"]["phase"] = json!("Active");
        }
        ("", "Pod") => pod(object),
        ("", "PersistentVolume" | "PersistentVolumeClaim") => volume(kind, object, now),
        ("", "Service") => service(object, serial),
        ("batch", "Job") => job(object),
        ("apps", "DaemonSet") => {
            fill(&mut object["metadata"], "annotations", json!({}));
            fill(
                &mut object["metadata"]["annotations"],
                "deprecated.daemonset.template.generation",
                json!("1"),
            );
        }
        ("apiextensions.k8s.io", _) => {
            object["status"]["conditions"] = Value::Null;
            object["status"]["storedVersions"] = stored_versions(object);
        }
        _ => {}
    }
}

fn pod(object: &mut Value) {
    object["status"] = json!({"phase": "Pending", "qosClass": quality(&object["spec"])});
    let spec = &mut object["spec"];
    fill(spec, "priority", json!(0));
    fill(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !tolerations.iter().any(|known| known["key"] == json!(key)) {
            tolerations.push(json!({
                "effect": "NoExecute",
                "key": key,
                "operator": "Exists",
                "tolerationSeconds": 300,
            }));
        }
    }
    spec["tolerations"] = Value::Array(tolerations);
}

fn volume(kind: &Kind, object: &mut Value, now: &str) {
    let claim = kind.kind == "PersistentVolumeClaim";
    object["status"]["phase"] = json!("Pending");
    if !claim {
        object["status"]["lastPhaseTransitionTime"] = json!(now);
    }
    let name = if claim { "kubernetes.io/pvc-protection" } else { "kubernetes.io/pv-protection" };
    fill(&mut object["metadata"], "finalizers", json!([]));
    if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut()
        && !finalizers.contains(&json!(name))
    {
        finalizers.push(json!(name));
    }
}

fn stored_versions(object: &Value) -> Value {
    let versions = object["spec"]["versions"].as_array().into_iter().flatten();
    versions
        .filter(|version| version["storage"] == json!(true))
        .map(|version| version["name"].clone())
        .collect()
}

fn quality(spec: &Value) -> &'static str {
    let containers = spec["containers"].as_array().cloned().unwrap_or_default();
    let some = |field: &str| containers.iter().any(|container| container["resources"][field].is_object());
    let guaranteed = !containers.is_empty()
        && containers.iter().all(|container| {
            let limits = &container["resources"]["limits"];
            limits["cpu"].is_string()
                && limits["memory"].is_string()
                && *limits == container["resources"]["requests"]
        });
    match (guaranteed, some("limits") || some("requests")) {
        (true, _) => "Guaranteed",
        (false, true) => "Burstable",
        (false, false) => "BestEffort",
    }
}

fn service(object: &mut Value, serial: u64) {
    object["status"] = json!({"loadBalancer": {}});
    let spec = &mut object["spec"];
    if spec["type"] == json!("ExternalName") {
        return;
    }
    fill(spec, "clusterIP", json!(format!("10.96.{}.{}", (serial / 250) % 250, serial % 250 + 2)));
    let address = spec["clusterIP"].clone();
    fill(spec, "clusterIPs", json!([address]));
    fill(spec, "ipFamilies", json!(["IPv4"]));
    fill(spec, "ipFamilyPolicy", json!("SingleStack"));
    if matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer")) {
        let mut port = NODE_PORT_FIRST + serial % NODE_PORTS;
        each(spec, "ports", |item| {
            fill(item, "nodePort", json!(port));
            port += 1;
        });
    }
}

fn job(object: &mut Value) {
    let (uid, name) = (object["metadata"]["uid"].clone(), object["metadata"]["name"].clone());
    if object["spec"]["manualSelector"] == json!(true) {
        return;
    }
    let labels = [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ];
    let metadata = &mut object["spec"]["template"]["metadata"];
    fill(metadata, "labels", json!({}));
    for (label, value) in labels {
        fill(&mut metadata["labels"], label, value.clone());
    }
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    fill(&mut object["metadata"], "labels", labels);
    fill(
        &mut object["spec"],
        "selector",
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}),
    );
}

/// A definition is established at once.
pub(crate) fn definition(object: &mut Value, now: &str) {
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now});
    object["status"] = json!({
        "acceptedNames": object["spec"]["names"],
        "storedVersions": stored_versions(object),
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    });
}
