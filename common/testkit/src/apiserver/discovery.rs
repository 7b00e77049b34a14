//! What the server says it serves.

use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::{Kind, Kinds};

/// The version that the server says it is.
pub(crate) const VERSION: (&str, &str, &str) = ("1", "35", "v1.35.4");

/// The documents of discovery, by path; `None` if the path is none of them.
pub(crate) fn document(kinds: &Kinds, path: &str, aggregated: bool) -> Option<Value> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["version"] => Some(version()),
        ["api"] if aggregated => Some(aggregate(kinds, str::is_empty)),
        ["apis"] if aggregated => Some(aggregate(kinds, |group| !group.is_empty())),
        ["api"] => Some(json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        })),
        ["apis"] => {
            let groups: Vec<Value> =
                kinds.groups().iter().filter_map(|(name, versions)| group(name, versions)).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] => {
            let mut out = group(name, kinds.groups().get(*name)?)?;
            out["kind"] = json!("APIGroup");
            out["apiVersion"] = json!("v1");
            Some(out)
        }
        ["api", "v1"] => Some(resources("v1", &kinds.of_version("", "v1"))),
        ["apis", group, version] => {
            let found = kinds.of_version(group, version);
            (!found.is_empty()).then(|| resources(&format!("{group}/{version}"), &found))
        }
        _ => None,
    }
}

fn version() -> Value {
    let (major, minor, full) = VERSION;
    json!({
        "major": major,
        "minor": minor,
        "gitVersion": full,
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    })
}

fn group(name: &str, versions: &[String]) -> Option<Value> {
    if name.is_empty() {
        return None;
    }
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    Some(json!({"name": name, "versions": versions, "preferredVersion": versions.first()?}))
}

/// The same in the order in which custom resources have them.
const VERBS_OF_CUSTOM: [&str; 8] =
    ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn resources(group_version: &str, kinds: &[Arc<Kind>]) -> Value {
    let mut out = Vec::new();
    for kind in kinds {
        let mut entry = json!({
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": if kind.custom { VERBS_OF_CUSTOM } else { VERBS },
        });
        if !kind.short_names.is_empty() {
            entry["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            entry["categories"] = json!(kind.categories);
        }
        out.push(entry);
        let mut below = |name: &str, mut extra: Value| {
            extra["name"] = json!(format!("{}/{name}", kind.plural));
            extra["singularName"] = json!("");
            extra["namespaced"] = json!(kind.namespaced);
            extra["verbs"] = json!(["get", "patch", "update"]);
            out.push(extra);
        };
        if kind.has_status {
            below("status", json!({"kind": kind.kind}));
        }
        if kind.has_scale {
            below("scale", json!({"kind": "Scale", "group": "autoscaling", "version": "v1"}));
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": out})
}

fn aggregate(kinds: &Kinds, wanted: impl Fn(&str) -> bool) -> Value {
    let groups = kinds.groups();
    let items = groups.iter().filter(|(group, _)| wanted(group)).map(|(group, versions)| {
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| {
                let found = kinds.of_version(group, version);
                let resources: Vec<Value> = found.iter().map(|kind| aggregated_resource(kind)).collect();
                json!({"version": version, "resources": resources, "freshness": "Current"})
            })
            .collect();
        json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
    });
    let items: Vec<Value> = items.collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let own =
        |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut below = Vec::new();
    let verbs = ["get", "patch", "update"];
    if kind.has_status {
        let response = own(&kind.group, &kind.version, &kind.kind);
        below.push(json!({"subresource": "status", "responseKind": response, "verbs": verbs}));
    }
    if kind.has_scale {
        below.push(json!({"subresource": "scale", "responseKind": own("autoscaling", "v1", "Scale"), "verbs": verbs}));
    }
    let mut out = json!({
        "resource": kind.plural,
        "responseKind": own(&kind.group, &kind.version, &kind.kind),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": VERBS,
    });
    if !kind.short_names.is_empty() {
        out["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        out["categories"] = json!(kind.categories);
    }
    if !below.is_empty() {
        out["subresources"] = Value::Array(below);
    }
    out
}
