//! The kinds that are served: the built-in ones from a table, others from their `CustomResourceDefinition`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::fields::schema::{Ref, Schema, built_in, named, of_custom};
use super::status::Status;

/// What the table says of a built-in kind: group, version, kind, plural, short names, and flags:
/// `n` namespaced, `s` status subresource, `g` generation, `x` scale subresource.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const ROWS: &[Row] = &[
    ("", "v1", "Namespace", "namespaces", "ns", "s"),
    ("", "v1", "ConfigMap", "configmaps", "cm", "n"),
    ("", "v1", "Secret", "secrets", "", "n"),
    ("", "v1", "Service", "services", "svc", "ns"),
    ("", "v1", "ServiceAccount", "serviceaccounts", "sa", "n"),
    ("", "v1", "Pod", "pods", "po", "nsg"),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", "ns"),
    ("", "v1", "PersistentVolume", "persistentvolumes", "pv", "s"),
    ("", "v1", "Node", "nodes", "no", "s"),
    ("", "v1", "Event", "events", "ev", "n"),
    ("", "v1", "Endpoints", "endpoints", "ep", "n"),
    ("", "v1", "LimitRange", "limitranges", "limits", "n"),
    ("", "v1", "ResourceQuota", "resourcequotas", "quota", "ns"),
    ("apps", "v1", "Deployment", "deployments", "deploy", "nsgx"),
    ("apps", "v1", "ReplicaSet", "replicasets", "rs", "nsgx"),
    ("apps", "v1", "StatefulSet", "statefulsets", "sts", "nsgx"),
    ("apps", "v1", "DaemonSet", "daemonsets", "ds", "nsg"),
    ("batch", "v1", "Job", "jobs", "", "nsg"),
    ("batch", "v1", "CronJob", "cronjobs", "cj", "nsg"),
    ("networking.k8s.io", "v1", "Ingress", "ingresses", "ing", "nsg"),
    ("networking.k8s.io", "v1", "IngressClass", "ingressclasses", "", "g"),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "netpol", "ng"),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", "", "n"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", "", "n"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", "", ""),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", "", ""),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", "crd,crds", "sg"),
    ("apiregistration.k8s.io", "v1", "APIService", "apiservices", "", "s"),
    ("coordination.k8s.io", "v1", "Lease", "leases", "", "n"),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", "nsg"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", "ns"),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies",
        "",
        "sg",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
        "",
        "g",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        "",
        "g",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        "",
        "g",
    ),
    ("storage.k8s.io", "v1", "StorageClass", "storageclasses", "sc", ""),
    ("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", "pc", "g"),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "", "n"),
    ("events.k8s.io", "v1", "Event", "events", "ev", "n"),
];

/// A resource in all its versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) plural: String,
}

impl Resource {
    pub(crate) fn new(group: &str, plural: &str) -> Resource {
        Resource { group: group.to_owned(), plural: plural.to_owned() }
    }
}

/// One kind in one version.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    reason = "a row of a table, in the words of Kubernetes"
)]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) has_status: bool,
    pub(crate) has_generation: bool,
    pub(crate) has_scale: bool,
    /// Made by a `CustomResourceDefinition`.
    pub(crate) custom: bool,
    pub(crate) schema: Arc<Schema>,
    pub(crate) of: Ref,
}

impl Kind {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    pub(crate) fn resource(&self) -> Resource {
        Resource::new(&self.group, &self.plural)
    }

    /// `deployments.apps`, as refusals name it.
    pub(crate) fn qualified_plural(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `Deployment.apps`, as refusals of a field name it.
    pub(crate) fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group) }
    }

    pub(crate) fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    fn built_in(row: &Row) -> Kind {
        let &(group, version, kind, plural, short, flags) = row;
        let package = match group {
            "" => "core",
            "apiextensions.k8s.io" => "apiextensions",
            _ => group.split('.').next().unwrap_or(group),
        };
        Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            short_names: short.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            categories: Vec::new(),
            namespaced: flags.contains('n'),
            has_status: flags.contains('s'),
            has_generation: flags.contains('g'),
            has_scale: flags.contains('x'),
            custom: false,
            schema: built_in(),
            of: named(&format!("{package}.{version}.{kind}")),
        }
    }

    /// The kinds that a `CustomResourceDefinition` serves, one per version.
    fn of_definition(definition: &Value) -> Vec<Kind> {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().into_iter().flatten().map(text).collect();
        let kind = text(&spec["names"]["kind"]);
        let singular = match text(&spec["names"]["singular"]) {
            name if name.is_empty() => kind.to_lowercase(),
            name => name,
        };
        let served = spec["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|version| version["served"] == json!(true));
        served
            .map(|version| Kind {
                group: text(&spec["group"]),
                version: text(&version["name"]),
                kind: kind.clone(),
                plural: text(&spec["names"]["plural"]),
                singular: singular.clone(),
                short_names: list(&spec["names"]["shortNames"]),
                categories: list(&spec["names"]["categories"]),
                namespaced: spec["scope"] == json!("Namespaced"),
                has_status: !version["subresources"]["status"].is_null(),
                has_generation: true,
                has_scale: false,
                custom: true,
                schema: built_in(),
                of: of_custom(version.pointer("/schema/openAPIV3Schema")),
            })
            .collect()
    }
}

/// All kinds that are served now.
#[derive(Debug)]
pub(crate) struct Kinds {
    by_path: BTreeMap<(String, String, String), Arc<Kind>>,
}

impl Kinds {
    pub(crate) fn built_in() -> Kinds {
        let kinds = ROWS.iter().map(Kind::built_in).map(Arc::new);
        let by_path = kinds.map(|kind| (path_of(&kind), kind)).collect();
        Kinds { by_path }
    }

    pub(crate) fn by_path(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.by_path.get(&(group.to_owned(), version.to_owned(), plural.to_owned())).cloned()
    }

    /// Any version of a resource, the newest name first.
    pub(crate) fn any_version(&self, resource: &Resource) -> Option<Arc<Kind>> {
        let mut found = self.by_path.values().filter(|kind| kind.resource() == *resource);
        found.next_back().cloned()
    }

    pub(crate) fn by_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Kind>> {
        self.by_path.values().find(|known| known.kind == kind && known.api_version() == api_version).cloned()
    }

    /// Whether a custom resource is served in any version.
    pub(crate) fn resources(&self) -> Vec<Resource> {
        let mut all: Vec<Resource> = self.by_path.values().map(|kind| kind.resource()).collect();
        all.dedup();
        all
    }

    /// Serves what a `CustomResourceDefinition` says, instead of what it said before.
    pub(crate) fn define(&mut self, definition: &Value) {
        self.forget(definition);
        for kind in Kind::of_definition(definition).into_iter().map(Arc::new) {
            self.by_path.insert(path_of(&kind), kind);
        }
    }

    pub(crate) fn forget(&mut self, definition: &Value) {
        let spec = &definition["spec"];
        let (group, plural) = (spec["group"].as_str(), spec["names"]["plural"].as_str());
        self.by_path.retain(|_, kind| {
            !(kind.custom && Some(kind.group.as_str()) == group && Some(kind.plural.as_str()) == plural)
        });
    }

    /// The refusal of a path below a group: words for a built-in group, nothing but a code for one that there is not.
    pub(crate) fn unknown(&self, group: &str) -> Status {
        let built_in = self.by_path.values().any(|kind| kind.group == group && !kind.custom);
        if built_in { Status::no_such_path() } else { Status::no_such_page() }
    }

    /// Group to its versions, each once.
    pub(crate) fn groups(&self) -> BTreeMap<String, Vec<String>> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (group, version, _) in self.by_path.keys() {
            let versions = groups.entry(group.clone()).or_default();
            if !versions.contains(version) {
                versions.push(version.clone());
            }
        }
        for versions in groups.values_mut() {
            versions.sort_by_key(|version| std::cmp::Reverse(maturity(version)));
        }
        groups
    }

    /// The kinds of one group and version.
    pub(crate) fn of_version(&self, group: &str, version: &str) -> Vec<Arc<Kind>> {
        self.by_path.values().filter(|kind| kind.group == group && kind.version == version).cloned().collect()
    }
}

/// Stable before beta before alpha, high numbers first.
fn maturity(version: &str) -> (u8, u64, u64) {
    let rest = version.strip_prefix('v').unwrap_or(version);
    let (stage, major, minor) = match (rest.split_once("beta"), rest.split_once("alpha")) {
        (Some((major, minor)), _) => (1, major, minor),
        (_, Some((major, minor))) => (0, major, minor),
        _ => (2, rest, "0"),
    };
    (stage, major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
}

fn path_of(kind: &Kind) -> (String, String, String) {
    (kind.group.clone(), kind.version.clone(), kind.plural.clone())
}
