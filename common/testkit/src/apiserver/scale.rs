//! The scale subresource of workloads.

use serde_json::{Value, json};

use super::store::meta;

/// The `Scale` that shows a workload.
pub(crate) fn of(live: &Value) -> Value {
    let labels = live["spec"]["selector"]["matchLabels"].as_object().cloned().unwrap_or_default();
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {
            "name": meta(live, "name"),
            "namespace": meta(live, "namespace"),
            "uid": meta(live, "uid"),
            "resourceVersion": meta(live, "resourceVersion"),
            "creationTimestamp": live["metadata"]["creationTimestamp"],
        },
        "spec": {"replicas": live["spec"]["replicas"]},
        "status": {"replicas": live["status"]["replicas"].as_i64().unwrap_or(0), "selector": pairs.join(",")},
    })
}

/// The workload with another number of replicas. An empty version asks for no particular one.
pub(crate) fn with_replicas(live: &Value, replicas: i64, version: &str) -> Value {
    let mut object = live.clone();
    object["spec"]["replicas"] = json!(replicas);
    object["metadata"]["resourceVersion"] = json!(version);
    object
}
