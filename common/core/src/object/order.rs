//! In which order kinds are applied and pruned, and which kinds are never pruned without a word.

use super::Key;
use core::cmp::Ordering;

/// Kinds in the order in which Argo CD applies them; all others come after the last
/// (`reference/application-sync-health.md` 4A.4).
const KINDS: [&str; 30] = [
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
];

/// What has to be there before the rest: each stage is applied, and waited for, before the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Namespaces, because nothing can be created in a missing one.
    Namespaces,
    /// Custom resource definitions, because their objects need a served kind.
    Definitions,
    /// Everything else.
    Rest,
}

/// Stage of a kind.
pub fn stage(group: &str, kind: &str) -> Stage {
    match (group, kind) {
        ("", "Namespace") => Stage::Namespaces,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => Stage::Definitions,
        _ => Stage::Rest,
    }
}

/// Place of a kind in Argo CD's order, 0 first; the group does not matter, unknown kinds share the last place.
pub fn rank(kind: &str) -> u8 {
    let place = KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len());
    u8::try_from(place).unwrap_or(u8::MAX)
}

/// Order of applying: stage, place of the kind, then group, kind, namespace and name so that it is total.
pub fn for_apply(left: &Key, right: &Key) -> Ordering {
    let place = |key: &Key| (stage(&key.group, &key.kind), rank(&key.kind));
    place(left).cmp(&place(right)).then_with(|| left.cmp(right))
}

/// Order of pruning: the reverse of [`for_apply`].
pub fn for_prune(left: &Key, right: &Key) -> Ordering {
    for_apply(right, left)
}

/// Whether objects of this kind are never pruned without approval: deleting them deletes what others put into them.
pub fn is_protected(group: &str, kind: &str) -> bool {
    matches!(
        (group, kind),
        ("", "Namespace" | "PersistentVolume" | "PersistentVolumeClaim")
            | ("apiextensions.k8s.io", "CustomResourceDefinition")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn key(group: &str, kind: &str, namespace: &str, name: &str) -> Key {
        Key { group: group.into(), kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }

    #[test]
    fn namespaces_and_definitions_come_before_all_else() {
        let mut keys = Vec::from([
            key("example.com", "Widget", "web", "w"),
            key("apps", "Deployment", "web", "web"),
            key("", "ConfigMap", "web", "settings"),
            key("", "Service", "web", "web"),
            key("apiextensions.k8s.io", "CustomResourceDefinition", "", "widgets.example.com"),
            key("", "Namespace", "", "web"),
            key("networking.k8s.io", "NetworkPolicy", "web", "deny"),
        ]);
        keys.sort_by(for_apply);
        let kinds: Vec<&str> = keys.iter().map(|key| key.kind.as_str()).collect();
        let wanted = [
            "Namespace",
            "CustomResourceDefinition",
            "NetworkPolicy",
            "ConfigMap",
            "Service",
            "Deployment",
            "Widget",
        ];
        assert_eq!(kinds, wanted);
        keys.sort_by(for_prune);
        let kinds: Vec<&str> = keys.iter().rev().map(|key| key.kind.as_str()).collect();
        assert_eq!(kinds, wanted);
    }

    #[test]
    fn a_kind_of_the_same_name_in_another_group_is_not_protected() {
        assert!(is_protected("", "Namespace"));
        assert!(is_protected("", "PersistentVolumeClaim"));
        assert!(is_protected("apiextensions.k8s.io", "CustomResourceDefinition"));
        assert!(!is_protected("example.com", "Namespace"));
        assert!(!is_protected("apps", "Deployment"));
    }

    fn keys() -> impl Strategy<Value = Key> {
        let kinds = prop::sample::select(&["Namespace", "Deployment", "Widget", "Ingress", "Secret"][..]);
        (kinds, "[ab]{0,1}", "[ab]{1,2}").prop_map(|(kind, namespace, name)| key("", kind, &namespace, &name))
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in keys(), b in keys(), c in keys()) {
            prop_assert_eq!(for_apply(&a, &b), for_apply(&b, &a).reverse());
            prop_assert_eq!(for_apply(&a, &b) == Ordering::Equal, a == b);
            if for_apply(&a, &b).is_le() && for_apply(&b, &c).is_le() {
                prop_assert!(for_apply(&a, &c).is_le());
            }
        }
    }
}
