//! Why the API server would not take an object.

use serde_json::{Value, json};

use super::defaults::each;
use super::kinds::Kind;
use super::status::{Cause, Status};

/// # Errors
/// 422 with a cause per field.
pub(crate) fn created(kind: &Kind, object: &Value) -> Result<(), Status> {
    let mut causes = Vec::new();
    name(kind, object, &mut causes);
    labels(object, &mut causes);
    spec(kind, object, &mut causes);
    finish(kind, object, &causes)
}

/// # Errors
/// 422 with a cause per field that may not change or does not fit.
pub(crate) fn updated(kind: &Kind, live: &Value, object: &Value) -> Result<(), Status> {
    let mut causes = Vec::new();
    labels(object, &mut causes);
    spec(kind, object, &mut causes);
    immutable(kind, live, object, &mut causes);
    let deleting = !live["metadata"]["deletionTimestamp"].is_null();
    if deleting {
        let list = |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let old = list(live);
        let added: Vec<Value> = list(object).into_iter().filter(|name| !old.contains(name)).collect();
        if !added.is_empty() {
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {}",
                json!(added)
            );
            causes.push(Cause::forbidden("metadata.finalizers", &why));
        }
    }
    finish(kind, object, &causes)
}

fn finish(kind: &Kind, object: &Value, causes: &[Cause]) -> Result<(), Status> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(kind, object["metadata"]["name"].as_str().unwrap_or_default(), causes))
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

fn name(kind: &Kind, object: &Value, causes: &mut Vec<Cause>) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
        return;
    }
    // Names of roles are path segments and may hold nearly anything.
    if kind.group == "rbac.authorization.k8s.io" {
        return;
    }
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| {
        part.starts_with(edge) && part.ends_with(edge) && part.chars().all(|c| edge(c) || c == '-')
    };
    if name.len() > 253 || !name.split('.').all(part) {
        causes.push(Cause::invalid("metadata.name", &json!(name), SUBDOMAIN));
    }
}

fn labels(object: &Value, causes: &mut Vec<Cause>) {
    for (_, value) in object["metadata"]["labels"].as_object().into_iter().flatten() {
        let Some(text) = value.as_str() else {
            causes.push(Cause::invalid("metadata.labels", value, "must be a string"));
            continue;
        };
        let edge = |c: char| c.is_ascii_alphanumeric();
        let inner = |c: char| edge(c) || matches!(c, '-' | '_' | '.');
        let fits = text.is_empty()
            || (text.len() <= 63
                && text.starts_with(edge)
                && text.ends_with(edge)
                && text.chars().all(inner));
        if !fits {
            let why = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
            causes.push(Cause::invalid("metadata.labels", value, why));
        }
    }
}

fn spec(kind: &Kind, object: &Value, causes: &mut Vec<Cause>) {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", name) => {
            workload(name, &object["spec"], causes);
            containers(&object["spec"]["template"]["spec"], "spec.template.spec", causes);
        }
        ("batch", "Job") => containers(&object["spec"]["template"]["spec"], "spec.template.spec", causes),
        ("", "Pod") => containers(&object["spec"], "spec", causes),
        ("", "Service") => ports(&object["spec"], causes),
        ("apiextensions.k8s.io", _) => definition(object, causes),
        _ => {}
    }
}

fn workload(kind: &str, spec: &Value, causes: &mut Vec<Cause>) {
    if let Some(replicas) = spec["replicas"].as_i64().filter(|replicas| *replicas < 0) {
        causes.push(Cause::invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0"));
    }
    let wanted = spec["selector"]["matchLabels"].as_object();
    if spec["selector"].is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else if wanted.is_none_or(serde_json::Map::is_empty) && spec["selector"]["matchExpressions"].is_null() {
        let why = format!("empty selector is invalid for {}", kind.to_lowercase());
        causes.push(Cause::invalid("spec.selector", &spec["selector"], &why));
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if spec["selector"].is_null()
        || wanted.into_iter().flatten().any(|(name, value)| labels.get(name) != Some(value))
    {
        let why = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", labels, why));
    }
}

fn containers(spec: &Value, at: &str, causes: &mut Vec<Cause>) {
    let containers = spec["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if containers.is_empty() {
        causes.push(Cause::required(&format!("{at}.containers"), ""));
    }
    for (index, container) in containers.iter().enumerate() {
        for field in ["name", "image"] {
            if container[field].as_str().unwrap_or_default().is_empty() {
                causes.push(Cause::required(&format!("{at}.containers[{index}].{field}"), ""));
            }
        }
    }
}

fn ports(spec: &Value, causes: &mut Vec<Cause>) {
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    if ports.is_empty() && spec["type"] != json!("ExternalName") && spec["clusterIP"] != json!("None") {
        causes.push(Cause::required("spec.ports", ""));
    }
    for (index, port) in ports.iter().enumerate() {
        let number = port["port"].as_u64().unwrap_or_default();
        if !(1..=65_535).contains(&number) {
            let why = "must be between 1 and 65535, inclusive";
            causes.push(Cause::invalid(&format!("spec.ports[{index}].port"), &port["port"], why));
        }
        if 1 < ports.len() && port["name"].as_str().unwrap_or_default().is_empty() {
            causes.push(Cause::required(&format!("spec.ports[{index}].name"), ""));
        }
    }
}

fn definition(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let wanted = format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"]));
    let name = &object["metadata"]["name"];
    if *name != json!(wanted) {
        causes.push(Cause::invalid("metadata.name", name, "must be spec.names.plural+\".\"+spec.group"));
    }
    if spec["versions"].as_array().is_none_or(Vec::is_empty) {
        causes.push(Cause::required("spec.versions", ""));
    }
}

const FIXED: &str = "field is immutable";

fn immutable(kind: &Kind, live: &Value, object: &Value, causes: &mut Vec<Cause>) {
    let mut fixed = |pointer: &str, why: &str| {
        let (old, new) = (live.pointer(pointer), object.pointer(pointer));
        if old != new {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            causes.push(Cause::invalid(&field, new.unwrap_or(&Value::Null), why));
        }
    };
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => fixed("/spec/selector", FIXED),
        ("apps", "StatefulSet") => stateful_set(live, object, causes),
        ("", "Pod") => pod(live, object, causes),
        ("batch", "Job") => {
            for pointer in ["/spec/selector", "/spec/template", "/spec/completionMode"] {
                fixed(pointer, FIXED);
            }
        }
        ("", "Service") => {
            let address =
                |object: &Value| object["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
            let external = object["spec"]["type"] == json!("ExternalName")
                || live["spec"]["type"] == json!("ExternalName");
            if !external && !address(live).is_empty() && address(live) != address(object) {
                // Both the address and the list of addresses are refused, as the list mirrors the address.
                let new = json!([object["spec"]["clusterIP"]]);
                causes.push(Cause::invalid("spec.clusterIPs[0]", &new, "may not change once set"));
            }
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            fixed("/roleRef", "cannot change roleRef");
        }
        ("", "Secret") => {
            fixed("/type", FIXED);
            frozen(live, object, &["data"], causes);
        }
        ("", "ConfigMap") => frozen(live, object, &["data", "binaryData"], causes),
        ("", "PersistentVolumeClaim") => claim(live, object, causes),
        ("apiextensions.k8s.io", _) => {
            for pointer in ["/spec/group", "/spec/scope", "/spec/names/plural", "/spec/names/kind"] {
                fixed(pointer, FIXED);
            }
        }
        _ => {}
    }
}

fn pod(live: &Value, object: &Value, causes: &mut Vec<Cause>) {
    let rest = |object: &Value| {
        let mut spec = object["spec"].clone();
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            each(&mut spec, list, |container| container["image"] = Value::Null);
        }
        if let Some(spec) = spec.as_object_mut() {
            spec.retain(|name, _| {
                !matches!(
                    name.as_str(),
                    "activeDeadlineSeconds"
                        | "tolerations"
                        | "terminationGracePeriodSeconds"
                        | "schedulingGates"
                )
            });
        }
        spec
    };
    // A pod that was just placed has its node for the first time.
    let placed = live["spec"]["nodeName"].is_null();
    if !placed && rest(live) != rest(object) || placed && rest(&unplaced(live)) != rest(&unplaced(object)) {
        let why = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
        causes.push(Cause::forbidden("spec", why));
    }
}

fn unplaced(object: &Value) -> Value {
    let mut object = object.clone();
    object["spec"].as_object_mut().and_then(|spec| spec.remove("nodeName"));
    object
}

fn frozen(live: &Value, object: &Value, fields: &[&str], causes: &mut Vec<Cause>) {
    if live["immutable"] != json!(true) {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if object["immutable"] != json!(true) {
        causes.push(Cause::forbidden("immutable", why));
    }
    for field in fields {
        if live.get(field) != object.get(field) {
            causes.push(Cause::forbidden(field, why));
        }
    }
}

fn stateful_set(live: &Value, object: &Value, causes: &mut Vec<Cause>) {
    let changeable = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let rest = |object: &Value| {
        let mut spec = object["spec"].as_object().cloned().unwrap_or_default();
        spec.retain(|name, _| !changeable.contains(&name.as_str()));
        spec
    };
    if rest(live) != rest(object) {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        causes.push(Cause::forbidden("spec", why));
    }
}

fn claim(live: &Value, object: &Value, causes: &mut Vec<Cause>) {
    let rest = |object: &Value| {
        let mut spec = object["spec"].as_object().cloned().unwrap_or_default();
        spec.retain(|name, _| {
            !matches!(name.as_str(), "resources" | "volumeName" | "volumeAttributesClassName")
        });
        spec
    };
    if rest(live) != rest(object) {
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        causes.push(Cause::forbidden("spec", why));
    }
}
