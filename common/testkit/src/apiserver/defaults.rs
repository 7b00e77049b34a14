//! Defaults that the API server fills into objects as it reads them. Whoever writes the object owns them.

use serde_json::{Value, json};

use super::kinds::Kind;

/// Fills `field` in if it is absent or null.
pub(crate) fn fill(object: &mut Value, field: &str, default: Value) {
    if let Some(map) = object.as_object_mut() {
        let slot = map.entry(field.to_owned()).or_insert(Value::Null);
        if slot.is_null() {
            *slot = default;
        }
    }
}

/// Runs `f` on every item of a list, if there is one.
pub(crate) fn each(object: &mut Value, field: &str, f: impl FnMut(&mut Value)) {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten().for_each(f);
}

/// Runs `f` on a field, if it is there.
fn with(object: &mut Value, field: &str, f: impl FnOnce(&mut Value)) {
    if let Some(value) = object.get_mut(field).filter(|value| !value.is_null()) {
        f(value);
    }
}

/// Fills the defaults of a built-in kind in.
pub(crate) fn apply(kind: &Kind, object: &mut Value) {
    if kind.custom {
        return;
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => namespace(object),
        ("", "Pod") => with(object, "spec", |spec| {
            fill(spec, "enableServiceLinks", json!(true));
            pod(spec);
            each(spec, "containers", requests);
        }),
        ("", "Service") => with(object, "spec", service),
        ("", "Secret") => secret(object),
        ("", "PersistentVolumeClaim") => {
            with(object, "spec", |spec| fill(spec, "volumeMode", json!("Filesystem")));
        }
        ("", "PersistentVolume") => with(object, "spec", |spec| {
            fill(spec, "volumeMode", json!("Filesystem"));
            fill(spec, "persistentVolumeReclaimPolicy", json!("Retain"));
            with(spec, "hostPath", |path| fill(path, "type", json!("")));
        }),
        ("apps", name) => with(object, "spec", |spec| workload(name, spec)),
        ("batch", "Job") => with(object, "spec", job),
        ("batch", "CronJob") => with(object, "spec", cron_job),
        ("networking.k8s.io", "NetworkPolicy") => with(object, "spec", network_policy),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(object),
        ("autoscaling", _) => with(object, "spec", |spec| fill(spec, "minReplicas", json!(1))),
        ("scheduling.k8s.io", "PriorityClass") => {
            fill(object, "preemptionPolicy", json!("PreemptLowerPriority"));
        }
        ("storage.k8s.io", "StorageClass") => {
            fill(object, "reclaimPolicy", json!("Delete"));
            fill(object, "volumeBindingMode", json!("Immediate"));
        }
        ("apiregistration.k8s.io", _) => {
            with(object, "spec", |spec| with(spec, "service", |service| fill(service, "port", json!(443))));
        }
        ("apiextensions.k8s.io", _) => with(object, "spec", definition),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => {
            with(object, "spec", admission_policy);
        }
        _ => {}
    }
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    if name.is_string() {
        fill(&mut object["metadata"], "labels", json!({}));
        fill(&mut object["metadata"]["labels"], "kubernetes.io/metadata.name", name);
    }
}

fn secret(object: &mut Value) {
    use base64::Engine as _;
    fill(object, "type", json!("Opaque"));
    let Some(Value::Object(plain)) = object.as_object_mut().and_then(|map| map.remove("stringData")) else {
        return;
    };
    fill(object, "data", json!({}));
    for (key, value) in plain {
        let bytes = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
        object["data"][key] = json!(bytes);
    }
}

fn service(spec: &mut Value) {
    fill(spec, "sessionAffinity", json!("None"));
    fill(spec, "type", json!("ClusterIP"));
    if spec["type"] != json!("ExternalName") {
        fill(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer")) {
        fill(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if spec["type"] == json!("LoadBalancer") {
        fill(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    each(spec, "ports", |port| {
        fill(port, "protocol", json!("TCP"));
        let number = port["port"].clone();
        fill(port, "targetPort", number);
    });
}

fn workload(kind: &str, spec: &mut Value) {
    if let Some(template) = spec.get_mut("template") {
        with(template, "spec", pod);
    }
    let rolling = |spec: &mut Value, field: &str, values: Value| {
        fill(spec, field, json!({}));
        let strategy = &mut spec[field];
        fill(strategy, "type", json!("RollingUpdate"));
        if strategy["type"] == json!("RollingUpdate") {
            fill(strategy, "rollingUpdate", json!({}));
            for (name, value) in values.as_object().into_iter().flatten() {
                fill(&mut strategy["rollingUpdate"], name, value.clone());
            }
        }
    };
    if kind != "DaemonSet" {
        fill(spec, "replicas", json!(1));
    }
    if kind != "ReplicaSet" {
        fill(spec, "revisionHistoryLimit", json!(10));
    }
    match kind {
        "Deployment" => {
            rolling(spec, "strategy", json!({"maxSurge": "25%", "maxUnavailable": "25%"}));
            fill(spec, "progressDeadlineSeconds", json!(600));
        }
        "StatefulSet" => {
            rolling(spec, "updateStrategy", json!({"partition": 0}));
            fill(spec, "podManagementPolicy", json!("OrderedReady"));
            let policy = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
            fill(spec, "persistentVolumeClaimRetentionPolicy", policy);
            each(spec, "volumeClaimTemplates", |claim| {
                fill(claim, "apiVersion", json!("v1"));
                fill(claim, "kind", json!("PersistentVolumeClaim"));
                with(claim, "spec", |spec| fill(spec, "volumeMode", json!("Filesystem")));
                claim["status"] = json!({"phase": "Pending"});
            });
        }
        "DaemonSet" => rolling(spec, "updateStrategy", json!({"maxSurge": 0, "maxUnavailable": 1})),
        _ => {}
    }
}

fn job(spec: &mut Value) {
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        fill(spec, "completions", json!(1));
    }
    for (field, value) in [
        ("parallelism", json!(1)),
        ("backoffLimit", json!(6)),
        ("completionMode", json!("NonIndexed")),
        ("suspend", json!(false)),
        ("manualSelector", json!(false)),
        ("podReplacementPolicy", json!("TerminatingOrFailed")),
    ] {
        fill(spec, field, value);
    }
    if let Some(template) = spec.get_mut("template") {
        with(template, "spec", pod);
    }
}

fn cron_job(spec: &mut Value) {
    fill(spec, "concurrencyPolicy", json!("Allow"));
    fill(spec, "suspend", json!(false));
    fill(spec, "successfulJobsHistoryLimit", json!(3));
    fill(spec, "failedJobsHistoryLimit", json!(1));
    if let Some(spec) = spec.pointer_mut("/jobTemplate/spec/template/spec") {
        pod(spec);
    }
}

fn network_policy(spec: &mut Value) {
    let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
    fill(spec, "policyTypes", if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
    for direction in ["ingress", "egress"] {
        each(spec, direction, |rule| each(rule, "ports", |port| fill(port, "protocol", json!("TCP"))));
    }
}

fn binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    with(object, "roleRef", |role| {
        if role["apiGroup"].as_str().unwrap_or_default().is_empty() {
            role["apiGroup"] = json!(GROUP);
        }
    });
    each(object, "subjects", |subject| {
        if matches!(subject["kind"].as_str(), Some("User" | "Group")) {
            fill(subject, "apiGroup", json!(GROUP));
        }
    });
}

fn definition(spec: &mut Value) {
    fill(spec, "conversion", json!({"strategy": "None"}));
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    fill(&mut spec["names"], "singular", json!(kind.to_lowercase()));
    fill(&mut spec["names"], "listKind", json!(format!("{kind}List")));
}

fn admission_policy(spec: &mut Value) {
    fill(spec, "failurePolicy", json!("Fail"));
    with(spec, "matchConstraints", |constraints| {
        fill(constraints, "matchPolicy", json!("Equivalent"));
        fill(constraints, "namespaceSelector", json!({}));
        fill(constraints, "objectSelector", json!({}));
        each(constraints, "resourceRules", |rule| fill(rule, "scope", json!("*")));
    });
}

/// Defaults of a pod, in a pod or a template.
fn pod(spec: &mut Value) {
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("securityContext", json!({})),
    ] {
        fill(spec, field, value);
    }
    let account = spec["serviceAccountName"].clone();
    if account.is_string() {
        fill(spec, "serviceAccount", account);
    } else if spec["serviceAccount"].is_string() {
        // The old name of the field speaks where the new one is silent.
        spec["serviceAccountName"] = spec["serviceAccount"].clone();
    } else if let Some(map) = spec.as_object_mut() {
        map.remove("serviceAccountName");
        map.remove("serviceAccount");
    }
    for list in ["containers", "initContainers"] {
        each(spec, list, container);
    }
    each(spec, "volumes", volume);
}

fn container(container: &mut Value) {
    fill(container, "terminationMessagePath", json!("/dev/termination-log"));
    fill(container, "terminationMessagePolicy", json!("File"));
    let image = container["image"].as_str().unwrap_or_default();
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    let latest = !image.contains('@') && matches!(tag, None | Some("latest"));
    fill(container, "imagePullPolicy", json!(if latest { "Always" } else { "IfNotPresent" }));
    each(container, "ports", |port| fill(port, "protocol", json!("TCP")));
    each(container, "env", |variable| {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
            fill(field, "apiVersion", json!("v1"));
        }
    });
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        with(container, probe, |probe| {
            for (field, value) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                fill(probe, field, json!(value));
            }
            with(probe, "httpGet", |get| {
                fill(get, "path", json!("/"));
                fill(get, "scheme", json!("HTTP"));
            });
            with(probe, "grpc", |grpc| fill(grpc, "service", json!("")));
        });
    }
}

/// A pod's requests are its limits where it names none.
fn requests(container: &mut Value) {
    let limits = container["resources"]["limits"].as_object().cloned().unwrap_or_default();
    for (name, limit) in limits {
        fill(&mut container["resources"], "requests", json!({}));
        fill(&mut container["resources"]["requests"], &name, limit);
    }
}

fn volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|map| map.len() == 1) {
        fill(volume, "emptyDir", json!({}));
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        with(volume, source, |source| fill(source, "defaultMode", json!(420)));
    }
    with(volume, "hostPath", |path| fill(path, "type", json!("")));
    with(volume, "projected", |projected| {
        each(projected, "sources", |source| {
            with(source, "serviceAccountToken", |token| fill(token, "expirationSeconds", json!(3607)));
        });
    });
}
