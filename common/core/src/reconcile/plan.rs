//! In which order the objects of a bundle are applied.

use crate::object::Key;
use crate::object::order::{Stage, for_apply, stage};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The keys of a bundle in stages: a stage starts when the one before is applied (and its definitions are established).
/// Inside a stage the order of kinds is the order of starting.
pub fn stages<'a>(keys: impl Iterator<Item = &'a Key>) -> Vec<Vec<Key>> {
    let mut stages: BTreeMap<Stage, Vec<Key>> = BTreeMap::new();
    for key in keys {
        stages.entry(stage(&key.group, &key.kind)).or_default().push(key.clone());
    }
    let mut ordered: Vec<Vec<Key>> = stages.into_values().collect();
    for keys in &mut ordered {
        keys.sort_by(for_apply);
    }
    ordered
}

/// Whether deletions wait for objects of this kind to be healthy. Addresses of services and ingresses are not waited for.
pub fn is_waited_for(key: &Key) -> bool {
    matches!(
        (key.group.as_str(), key.kind.as_str()),
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet")
            | ("batch", "Job")
            | ("argoproj.io", "Rollout")
            | ("apiextensions.k8s.io", "CustomResourceDefinition")
    )
}
