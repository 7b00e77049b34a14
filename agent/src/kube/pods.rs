//! Pods that tell early why a workload does not become ready.

use super::address::escaped;
use super::api::Api;
use super::error::ApiError;
use super::{Gvk, Objects};
use serde_json::Value;
use taffrail_core::object::Key;

/// Pods that are given back at most: enough to name a cause, few enough to hold.
pub const PODS_MAX: usize = 20;
/// Pods read in one answer, about 8 KB each.
const PAGE: usize = 50;
/// Pages read at most: of a larger workload, the first 500 pods speak for the rest.
const PAGES_MAX: usize = 10;
/// Replica sets read of one Deployment; the default history is 10.
const REPLICA_SETS_MAX: usize = 100;

/// Pods of the newest revision that are not ready. Pods of older revisions are left out, because what fails in them is
/// what the newest revision may have come to mend.
pub(super) async fn of(api: &Api, workload: &Key) -> Result<Vec<Value>, ApiError> {
    let has_pods = match workload.group.as_str() {
        "apps" => matches!(workload.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet"),
        "batch" => workload.kind == "Job",
        _ => false,
    };
    if !has_pods {
        return Ok(Vec::new());
    }
    let Some(object) = api.get(workload).await? else { return Ok(Vec::new()) };
    let Some(selector) = object.pointer("/spec/selector").and_then(selector) else { return Ok(Vec::new()) };
    let newest = match newest(api, workload, &object, &selector).await? {
        Newest::Unseen => return Ok(Vec::new()),
        newest => newest,
    };
    let mut found = Vec::new();
    let mut next = String::new();
    for _ in 0..PAGES_MAX {
        let query = format!("labelSelector={}&limit={PAGE}&continue={}", escaped(&selector), escaped(&next));
        let mut page = api.list(&Gvk::new("v1", "Pod"), &workload.namespace, &query).await?;
        let items =
            page.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
        let wanted = items.into_iter().filter(|pod| newest.holds(pod) && !is_ready(pod));
        found.extend(wanted.take(PODS_MAX - found.len()).map(typed));
        text(&page, "/metadata/continue").clone_into(&mut next);
        if next.is_empty() || found.len() == PODS_MAX {
            break;
        }
    }
    Ok(found)
}

/// Which pods belong to the newest revision.
enum Newest {
    /// All that the selector finds.
    All,
    /// Those that this object owns.
    OwnedBy(String),
    /// Those with this label.
    Labelled(&'static str, String),
    /// The controller has not yet seen the newest spec: no pod belongs to it.
    Unseen,
}

impl Newest {
    fn holds(&self, pod: &Value) -> bool {
        match self {
            Newest::All => true,
            Newest::OwnedBy(uid) => owners(pod).any(|owner| text(owner, "/uid") == uid),
            Newest::Labelled(label, value) => {
                let labels = pod.pointer("/metadata/labels");
                labels.and_then(|labels| labels.get(*label)).and_then(Value::as_str) == Some(value)
            }
            Newest::Unseen => false,
        }
    }
}

async fn newest(api: &Api, key: &Key, object: &Value, selector: &str) -> Result<Newest, ApiError> {
    let generation = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    if key.kind != "Job" && generation("/metadata/generation") > generation("/status/observedGeneration") {
        return Ok(Newest::Unseen);
    }
    let labelled = |label, value: &str| match value {
        "" => Newest::All,
        value => Newest::Labelled(label, value.to_owned()),
    };
    Ok(match key.kind.as_str() {
        "Deployment" => newest_replica_set(api, key, object, selector).await?,
        "StatefulSet" => labelled("controller-revision-hash", text(object, "/status/updateRevision")),
        "DaemonSet" => {
            let template = text(object, "/metadata/annotations/deprecated.daemonset.template.generation");
            labelled("pod-template-generation", template)
        }
        _ => Newest::All,
    })
}

/// The replica set that carries the Deployment's revision; all pods if there is none that says so.
async fn newest_replica_set(
    api: &Api,
    key: &Key,
    object: &Value,
    selector: &str,
) -> Result<Newest, ApiError> {
    const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";
    let query = format!("labelSelector={}&limit={REPLICA_SETS_MAX}", escaped(selector));
    let sets = api.list(&Gvk::new("apps/v1", "ReplicaSet"), &key.namespace, &query).await?;
    let sets = sets.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let (uid, revision) = (text(object, "/metadata/uid"), text(object, REVISION));
    let found = sets
        .iter()
        .find(|set| text(set, REVISION) == revision && owners(set).any(|owner| text(owner, "/uid") == uid));
    Ok(match found {
        Some(set) if !revision.is_empty() => Newest::OwnedBy(text(set, "/metadata/uid").to_owned()),
        _ => Newest::All,
    })
}

fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Items of a list carry no type.
fn typed(mut pod: Value) -> Value {
    pod["apiVersion"] = Value::from("v1");
    pod["kind"] = Value::from("Pod");
    pod
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let is_ready = |it: &Value| text(it, "/type") == "Ready" && text(it, "/status") == "True";
    text(pod, "/status/phase") == "Succeeded" || conditions.into_iter().any(is_ready)
}

/// A label selector as a query has it; `None` if it is empty, since that would select everything.
fn selector(selector: &Value) -> Option<String> {
    let labels = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let equal = labels.map(|(label, value)| format!("{label}={}", value.as_str().unwrap_or_default()));
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    let all: Vec<String> = equal.chain(expressions.filter_map(expression)).collect();
    (!all.is_empty()).then(|| all.join(","))
}

fn expression(expression: &Value) -> Option<String> {
    let label = text(expression, "/key");
    let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
    let values: Vec<&str> = values.filter_map(Value::as_str).collect();
    match text(expression, "/operator") {
        "In" => Some(format!("{label} in ({})", values.join(","))),
        "NotIn" => Some(format!("{label} notin ({})", values.join(","))),
        "Exists" => Some(label.to_owned()),
        "DoesNotExist" => Some(format!("!{label}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_read_as_in_a_query() {
        let all = json!({"matchLabels": {"app": "web", "tier": "front"}, "matchExpressions": [
            {"key": "env", "operator": "In", "values": ["a", "b"]}, {"key": "old", "operator": "DoesNotExist"}]});
        assert_eq!(selector(&all).unwrap(), "app=web,tier=front,env in (a,b),!old");
        assert_eq!(selector(&json!({})), None);
    }
}
