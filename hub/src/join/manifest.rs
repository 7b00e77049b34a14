//! The one YAML that brings an agent into a cluster: `kubectl apply -f -` and nothing else.
//!
//! Rights (reference/security.md 3.4): the agent reads and impersonates one service account; what it applies, it applies
//! as that account, whose rights whoever joins the cluster has chosen.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use taffrail_core::id::ClusterName;
use taffrail_proto::join::Token;

/// Namespace of everything that is the agent's.
pub(super) const NAMESPACE: &str = "taffrail-system";
const AGENT: &str = "taffrail-agent";
const APPLIER: &str = "taffrail-applier";
/// Written by the join command, read by the agent: token and certificate authority.
const JOIN_SECRET: &str = "taffrail-join";
/// Written by the agent: its keys and credentials.
const IDENTITY_SECRET: &str = "taffrail-identity";
/// Written by the agent: the highest index that it has taken, and events that could not be sent before it stopped.
const MARK_SECRET: &str = "taffrail-mark";
const JOIN_FOLDER: &str = "/etc/taffrail/join";
const STATE_FOLDER: &str = "/var/lib/taffrail-agent";
const PROBE_PORT: u16 = 8081;
/// A user that owns nothing: the one that distroless images call nonroot.
const USER: u32 = 65_532;

/// Which workload runs the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One pod; the default, because every pod of a `DaemonSet` has the agent's rights.
    Deployment,
    /// One pod a node; a Lease picks the one that acts.
    DaemonSet,
}

/// What the agent may apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Everything.
    ClusterAdmin,
    /// Everything inside these namespaces, which must exist, and nothing outside.
    Namespaces(Vec<String>),
}

/// What goes into the YAML.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The cluster's name, for people who read the YAML; the token alone decides.
    pub cluster: ClusterName,
    /// Where the hub answers.
    pub hub_url: String,
    /// The hub's certificate authority, PEM.
    pub ca_pem: String,
    /// The one-time token.
    pub token: Token,
    /// Image of the agent.
    pub image: String,
    /// Which workload runs the agent.
    pub form: Form,
    /// What the agent may apply.
    pub rights: Rights,
    /// Labels of the cluster, for people who read the YAML; the hub keeps them with the token.
    pub labels: BTreeMap<String, String>,
}

/// Writes the YAML.
///
/// # Panics
/// Never: objects of texts and numbers can be written as YAML.
pub fn manifest(join: &Manifest) -> String {
    let mut text = header(join);
    for object in objects(join) {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&object).expect("texts and numbers can be written as YAML"));
    }
    text
}

fn header(join: &Manifest) -> String {
    let mut text = format!("# Joins this cluster to Taffrail as {}. Hub: {}\n", join.cluster, join.hub_url);
    text.push_str("# It holds a token that can be used once. Apply it with: kubectl apply -f -\n");
    let _ = match &join.rights {
        Rights::ClusterAdmin => writeln!(text, "# Rights: whatever Git says is applied with cluster-admin."),
        Rights::Namespaces(names) => {
            writeln!(text, "# Rights: only the namespaces {}, which must exist.", names.join(", "))
        }
    };
    text
}

fn objects(join: &Manifest) -> Vec<Value> {
    let mut objects = vec![namespace(join), account(AGENT), account(APPLIER)];
    objects.extend(own_rights());
    objects.extend(read_rights());
    objects.extend(apply_rights(&join.rights));
    objects.push(secret(JOIN_SECRET, Some(json!({"token": join.token.reveal(), "ca.crt": join.ca_pem}))));
    // Empty; applying again does not touch what the agent wrote into them.
    objects.push(secret(IDENTITY_SECRET, None));
    objects.push(secret(MARK_SECRET, None));
    objects.push(workload(join));
    objects
}

fn common_labels() -> Value {
    json!({"app.kubernetes.io/name": AGENT, "app.kubernetes.io/part-of": "taffrail"})
}

fn meta(name: &str, namespace: Option<&str>) -> Value {
    let mut meta = json!({"name": name, "labels": common_labels()});
    if let Some(namespace) = namespace {
        meta["namespace"] = json!(namespace);
    }
    meta
}

fn namespace(join: &Manifest) -> Value {
    let mut meta = meta(NAMESPACE, None);
    meta["labels"]["pod-security.kubernetes.io/enforce"] = json!("restricted");
    let labels: Vec<String> = join.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    meta["annotations"] = json!({
        "taffrail.dev/cluster": join.cluster.as_str(),
        "taffrail.dev/cluster-labels": labels.join(","),
    });
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
}

fn account(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": meta(name, Some(NAMESPACE)),
        "automountServiceAccountToken": false,
    })
}

fn secret(name: &str, data: Option<Value>) -> Value {
    let mut secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": meta(name, Some(NAMESPACE)),
        "type": "Opaque",
    });
    if let Some(data) = data {
        secret["stringData"] = data;
    }
    secret
}

fn rule(group: &str, resources: &[&str], names: &[&str], verbs: &[&str]) -> Value {
    let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    if !names.is_empty() {
        rule["resourceNames"] = json!(names);
    }
    rule
}

/// What the agent may do in its own namespace, the right to impersonate the applier among it.
fn own_rights() -> Vec<Value> {
    let rules = vec![
        rule("", &["serviceaccounts"], &[APPLIER], &["impersonate"]),
        // Its identity, its mark, and an inventory for each app, whose names follow from the apps; nothing else lives here.
        rule("", &["secrets"], &[], &["get", "list", "create", "update", "delete"]),
        rule("coordination.k8s.io", &["leases"], &[AGENT], &["get", "update", "patch"]),
        rule("coordination.k8s.io", &["leases"], &[], &["create"]),
        rule("", &["events"], &[], &["create", "patch"]),
        rule("events.k8s.io", &["events"], &[], &["create", "patch"]),
    ];
    vec![
        role("Role", AGENT, Some(NAMESPACE), &rules),
        binding("RoleBinding", AGENT, Some(NAMESPACE), "Role", AGENT, AGENT),
    ]
}

/// What the agent may read with its own name: enough to tell two clusters apart. People's objects are read, as they are
/// written, as the applier.
fn read_rights() -> Vec<Value> {
    let rules = vec![rule("", &["namespaces"], &["kube-system"], &["get"])];
    let name = "taffrail-agent-cluster";
    vec![
        role("ClusterRole", name, None, &rules),
        binding("ClusterRoleBinding", name, None, "ClusterRole", name, AGENT),
    ]
}

fn apply_rights(rights: &Rights) -> Vec<Value> {
    match rights {
        Rights::ClusterAdmin => {
            vec![binding("ClusterRoleBinding", APPLIER, None, "ClusterRole", "cluster-admin", APPLIER)]
        }
        Rights::Namespaces(names) => {
            let everything = || vec![rule("*", &["*"], &[], &["*"])];
            let pair = |name: &String| {
                [
                    role("Role", APPLIER, Some(name), &everything()),
                    binding("RoleBinding", APPLIER, Some(name), "Role", APPLIER, APPLIER),
                ]
            };
            names.iter().flat_map(pair).collect()
        }
    }
}

fn role(kind: &str, name: &str, namespace: Option<&str>, rules: &[Value]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": meta(name, namespace),
        "rules": rules,
    })
}

fn binding(
    kind: &str,
    name: &str,
    namespace: Option<&str>,
    role: &str,
    role_name: &str,
    account: &str,
) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": meta(name, namespace),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": role_name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}],
    })
}

fn workload(join: &Manifest) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app.kubernetes.io/name": AGENT}},
        "template": {"metadata": {"labels": common_labels()}, "spec": pod(join)},
    });
    let kind = match join.form {
        Form::Deployment => {
            spec["replicas"] = json!(1);
            // Never two at a time: the second would open a journal of its own.
            spec["strategy"] = json!({"type": "Recreate"});
            "Deployment"
        }
        Form::DaemonSet => "DaemonSet",
    };
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": meta(AGENT, Some(NAMESPACE)), "spec": spec})
}

fn pod(join: &Manifest) -> Value {
    json!({
        "serviceAccountName": AGENT,
        "automountServiceAccountToken": true,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(join)],
        "volumes": [
            {"name": "state", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "join", "secret": {"secretName": JOIN_SECRET, "defaultMode": 0o440}},
        ],
    })
}

fn container(join: &Manifest) -> Value {
    let probe = |path: &str, period: u32| json!({"httpGet": {"path": path, "port": PROBE_PORT}, "periodSeconds": period, "failureThreshold": 3});
    json!({
        "name": "agent",
        "image": join.image,
        "args": ["run"],
        "env": environment(join),
        "ports": [{"name": "probes", "containerPort": PROBE_PORT}],
        "livenessProbe": probe("/livez", 20),
        "readinessProbe": probe("/readyz", 10),
        "resources": {
            "requests": {"cpu": "20m", "memory": "48Mi"},
            "limits": {"memory": "256Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "state", "mountPath": STATE_FOLDER},
            {"name": "join", "mountPath": JOIN_FOLDER, "readOnly": true},
        ],
    })
}

fn environment(join: &Manifest) -> Vec<Value> {
    let lease = (join.form == Form::DaemonSet).to_string();
    let mut variables: Vec<Value> = [
        ("TAFFRAIL_AGENT_HUB_URL", join.hub_url.clone()),
        ("TAFFRAIL_AGENT_HUB_CA_FILE", format!("{JOIN_FOLDER}/ca.crt")),
        ("TAFFRAIL_AGENT_JOIN_TOKEN_FILE", format!("{JOIN_FOLDER}/token")),
        ("TAFFRAIL_AGENT_STATE_DIR", STATE_FOLDER.to_owned()),
        ("TAFFRAIL_AGENT_LISTEN_PROBES", format!("0.0.0.0:{PROBE_PORT}")),
        ("TAFFRAIL_AGENT_KUBE_LEASE", lease),
        ("TAFFRAIL_AGENT_LOG_FORMAT", "json".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| json!({"name": name, "value": value}))
    .collect();
    if let Rights::Namespaces(names) = &join.rights {
        // Rights by namespace allow watches by namespace, and no other.
        variables.push(json!({"name": "TAFFRAIL_AGENT_KUBE_NAMESPACES", "value": names.join(",")}));
    }
    variables.push(json!({
        "name": "TAFFRAIL_AGENT_KUBE_IDENTITY",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
    }));
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(form: Form, rights: Rights) -> Manifest {
        Manifest {
            cluster: ClusterName::parse("example").unwrap(),
            hub_url: "https://hub.example.org:8443".to_owned(),
            ca_pem: "-----BEGIN CERTIFICATE-----\nREPLACE\n-----END CERTIFICATE-----\n".to_owned(),
            token: Token::parse(&format!("tjt_{}", "A".repeat(43))).unwrap(),
            image: "ghcr.io/taffrail/agent:0.1.0".to_owned(),
            form,
            rights,
            labels: BTreeMap::from([("environment".to_owned(), "production".to_owned())]),
        }
    }

    fn namespaces() -> Rights {
        Rights::Namespaces(vec!["shop".to_owned(), "pay".to_owned()])
    }

    #[test]
    fn the_manifests_are_those_in_deploy() {
        for (file, form, rights) in [
            ("deployment", Form::Deployment, Rights::ClusterAdmin),
            ("daemonset", Form::DaemonSet, Rights::ClusterAdmin),
            ("namespaces", Form::Deployment, namespaces()),
        ] {
            let path = format!("../deploy/agent/{file}/agent.yaml");
            let made = manifest(&example(form, rights));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&path, &made).unwrap();
            }
            let golden = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(golden == made, "deploy/agent/{file}/agent.yaml differs from what is made:\n{made}");
        }
    }

    /// Every rule that `account` has, with the kind and namespace of its binding.
    fn rules_of(objects: &[Value], account: &str) -> Vec<(String, String, Value)> {
        let text = |value: &Value, pointer: &str| {
            value.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned()
        };
        let bound = objects.iter().filter(|object| text(object, "/subjects/0/name") == account);
        bound
            .flat_map(|binding| {
                let (kind, name) = (text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
                let namespace = text(binding, "/metadata/namespace");
                let role = objects.iter().find(|object| {
                    text(object, "/kind") == kind
                        && text(object, "/metadata/name") == name
                        && (kind == "ClusterRole" || text(object, "/metadata/namespace") == namespace)
                });
                let rules = role
                    .and_then(|role| role["rules"].as_array().cloned())
                    .unwrap_or_else(|| vec![json!(name)]);
                rules.into_iter().map(move |rule| (text(binding, "/kind"), namespace.clone(), rule))
            })
            .collect()
    }

    #[test]
    fn the_agent_itself_can_do_nothing_outside_its_namespace_but_look_at_one() {
        for rights in [Rights::ClusterAdmin, namespaces()] {
            let objects = objects(&example(Form::Deployment, rights));
            let rules = rules_of(&objects, AGENT);
            assert!(rules.len() > 5);
            for (_, namespace, rule) in rules {
                let one_look =
                    rule["verbs"] == json!(["get"]) && rule["resourceNames"] == json!(["kube-system"]);
                assert!(one_look || namespace == NAMESPACE, "{rule}");
                let shown = rule.to_string();
                assert!(
                    !shown.contains('*') && !shown.contains("users") && !shown.contains("groups"),
                    "{rule}"
                );
                if shown.contains("secrets") {
                    assert_eq!(namespace, NAMESPACE, "{rule}");
                }
                if shown.contains("impersonate") {
                    assert_eq!(rule["resourceNames"], json!([APPLIER]), "{rule}");
                }
            }
        }
    }

    #[test]
    fn the_applier_has_what_was_chosen_and_no_more() {
        let admin = rules_of(&objects(&example(Form::Deployment, Rights::ClusterAdmin)), APPLIER);
        assert_eq!(admin, [("ClusterRoleBinding".to_owned(), String::new(), json!("cluster-admin"))]);
        let narrow = rules_of(&objects(&example(Form::Deployment, namespaces())), APPLIER);
        let found: Vec<(&str, &str)> =
            narrow.iter().map(|(kind, namespace, _)| (kind.as_str(), namespace.as_str())).collect();
        assert_eq!(found, [("RoleBinding", "shop"), ("RoleBinding", "pay")]);
    }

    #[test]
    fn a_name_that_looks_like_yaml_stays_a_text() {
        let mut join = example(Form::Deployment, Rights::ClusterAdmin);
        join.image = "x\n---\nkind: ClusterRole # \"".to_owned();
        join.labels.insert("on".to_owned(), "yes: [".to_owned());
        let made = manifest(&join);
        let read: Vec<Value> = serde_saphyr::from_str_multiple(&made).unwrap();
        assert_eq!(read, objects(&join));
    }
}
