//! What is remembered of an object, and the differences that it makes.

use super::Change;
use crate::kube::Gvk;
use kube::core::ObjectMeta;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use taffrail_core::object::{Key, Owned};

/// An object as far as drift and progress need it: about 100 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its identity: differs when it was deleted and made again.
    pub uid: Box<str>,
    /// Its version; opaque.
    pub resource_version: Box<str>,
    /// Its generation; zero for kinds that have none.
    pub generation: i64,
    /// [`Owned::fingerprint`] of the fields that are ours.
    pub owned: u64,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl Fingerprint {
    pub(super) fn of(metadata: &ObjectMeta) -> Fingerprint {
        Fingerprint {
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
            resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
            generation: metadata.generation.unwrap_or_default(),
            owned: owned(metadata).fingerprint(),
            deleting: metadata.deletion_timestamp.is_some(),
        }
    }
}

fn owned(metadata: &ObjectMeta) -> Owned {
    let entries = metadata.managed_fields.as_deref().unwrap_or_default().iter();
    let ours =
        entries.filter(|entry| entry.manager.as_deref() == Some(taffrail_core::object::owned::MANAGER));
    let list: Vec<Value> = ours.filter_map(|entry| serde_json::to_value(entry).ok()).collect();
    Owned::of(&Value::Array(list))
}

/// Namespace and name.
type Place = (Box<str>, Box<str>);

/// The fingerprints of one kind in one part of the cluster.
pub(super) struct Prints {
    gvk: Gvk,
    namespace: Option<String>,
    known: BTreeMap<Place, Fingerprint>,
    /// While a list runs: what it held so far.
    listed: Option<BTreeSet<Place>>,
    /// The list that runs, or the next one, is told as a whole.
    anew: bool,
}

impl Prints {
    pub(super) fn new(gvk: Gvk, namespace: Option<&str>) -> Prints {
        Prints {
            gvk,
            namespace: namespace.map(str::to_owned),
            known: BTreeMap::new(),
            listed: None,
            anew: false,
        }
    }

    /// Nothing that was told counts any more: the next list is told as a whole, and what it does not hold is gone.
    pub(super) fn tell_anew(&mut self) {
        self.anew = true;
    }

    /// A list begins: nothing is gone until it is complete.
    pub(super) fn begin_list(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    /// An object was listed or watched.
    pub(super) fn see(&mut self, metadata: &ObjectMeta) -> Option<Change> {
        let place = place(metadata);
        if let Some(listed) = &mut self.listed {
            listed.insert(place.clone());
        }
        let print = Fingerprint::of(metadata);
        if !self.anew && self.known.get(&place) == Some(&print) {
            return None;
        }
        let key = self.key(&place);
        self.known.insert(place, print.clone());
        Some(Change::Seen { key, print })
    }

    /// An object left the watch.
    pub(super) fn lose(&mut self, metadata: &ObjectMeta) -> Option<Change> {
        let place = place(metadata);
        self.known.remove(&place)?;
        Some(Change::Gone { key: self.key(&place) })
    }

    /// The list is complete: what it did not hold is gone.
    pub(super) fn end_list(&mut self) -> Vec<Change> {
        let listed = self.listed.take().unwrap_or_default();
        self.anew = false;
        let gone: Vec<Place> = self.known.keys().filter(|place| !listed.contains(*place)).cloned().collect();
        let mut changes = Vec::with_capacity(gone.len() + 1);
        for place in gone {
            self.known.remove(&place);
            changes.push(Change::Gone { key: self.key(&place) });
        }
        changes.push(Change::Listed { gvk: self.gvk.clone(), namespace: self.namespace.clone() });
        changes
    }

    fn key(&self, (namespace, name): &Place) -> Key {
        Key {
            group: self.gvk.group.clone(),
            kind: self.gvk.kind.clone(),
            namespace: namespace.to_string(),
            name: name.to_string(),
        }
    }
}

fn place(metadata: &ObjectMeta) -> Place {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    (text(&metadata.namespace), text(&metadata.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(name: &str, version: &str) -> ObjectMeta {
        serde_json::from_value(json!({
            "name": name, "namespace": "web", "uid": "u", "resourceVersion": version, "managedFields": [
                {"manager": "taffrail", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
                {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:paused": {}}}}
            ]
        }))
        .unwrap()
    }

    fn names(changes: impl IntoIterator<Item = Change>) -> Vec<String> {
        let text = |change| match change {
            Change::Seen { key, print } => format!("seen {} {}", key.name, print.resource_version),
            Change::Gone { key } => format!("gone {}", key.name),
            Change::Listed { .. } => "listed".to_owned(),
            Change::WentBack { .. } => "went back".to_owned(),
            Change::Failing { .. } => "failing".to_owned(),
        };
        changes.into_iter().map(text).collect()
    }

    #[test]
    fn a_fingerprint_is_about_our_fields() {
        let print = Fingerprint::of(&metadata("a", "1"));
        assert_eq!(print.owned, Owned::from_paths([".spec.replicas"]).fingerprint());
    }

    #[test]
    fn only_differences_are_told_and_nothing_is_gone_before_the_list_is_complete() {
        let mut prints = Prints::new(Gvk::new("apps/v1", "Deployment"), None);
        prints.begin_list();
        let first = [prints.see(&metadata("a", "1")), prints.see(&metadata("b", "2"))];
        assert_eq!(names(first.into_iter().flatten()), ["seen a 1", "seen b 2"]);
        assert_eq!(names(prints.end_list()), ["listed"]);
        assert_eq!(names(prints.see(&metadata("a", "1"))), [""; 0]);
        assert_eq!(names(prints.see(&metadata("a", "3"))), ["seen a 3"]);
        assert_eq!(names(prints.lose(&metadata("b", "4"))), ["gone b"]);
        assert_eq!(names(prints.lose(&metadata("b", "4"))), [""; 0]);

        assert_eq!(names(prints.see(&metadata("c", "5"))), ["seen c 5"]);
        prints.begin_list();
        assert_eq!(names(prints.see(&metadata("c", "5"))), [""; 0]);
        prints.begin_list(); // the list failed half way and began again
        assert_eq!(names(prints.see(&metadata("c", "6"))), ["seen c 6"]);
        assert_eq!(names(prints.end_list()), ["gone a", "listed"]);
    }

    #[test]
    fn after_a_restore_equal_states_are_told_once_more_and_what_is_missing_is_gone() {
        let mut prints = Prints::new(Gvk::new("apps/v1", "Deployment"), None);
        prints.begin_list();
        assert_eq!(
            prints.see(&metadata("a", "1")).into_iter().chain(prints.see(&metadata("b", "2"))).count(),
            2
        );
        prints.end_list();
        prints.tell_anew();
        prints.begin_list();
        assert_eq!(names(prints.see(&metadata("a", "1"))), ["seen a 1"]);
        assert_eq!(names(prints.end_list()), ["gone b", "listed"]);
        assert_eq!(names(prints.see(&metadata("a", "1"))), [""; 0]);
    }
}
