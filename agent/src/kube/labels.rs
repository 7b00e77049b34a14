//! What Taffrail writes on every object that it applies, so that it is found again and names its commit.

use super::inventory;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use taffrail_core::id::{AppId, CommitId};

/// Label (the app's name, shortened to fit) and annotation (`source/name`).
pub const APP: &str = "taffrail.dev/app";
/// Annotation: the commit that last changed this object.
pub const COMMIT: &str = "taffrail.dev/commit";

/// Longest label value, in bytes (Kubernetes).
const LABEL_BYTES_MAX: usize = 63;
/// Characters of the digest that end a shortened label: 32 bits, enough to keep a few thousand apps apart.
const DIGEST_CHARACTERS: usize = 8;

/// What is written on an object.
#[derive(Clone, Copy, Debug)]
pub struct Decoration<'a> {
    /// The app that it belongs to.
    pub app: &'a AppId,
    /// The commit that last changed it.
    pub commit: &'a CommitId,
    /// Namespace for objects that name none; empty where their kind has no namespaces.
    pub namespace: &'a str,
    /// Namespace of the inventory, which is part of the `ApplySet`'s identity.
    pub home: &'a str,
}

/// The object with its labels, annotations and namespace, and without what only a server may say about it
/// (`managedFields`, `resourceVersion`, `uid`), which copies of live objects carry.
pub fn decorate(mut object: Value, decoration: &Decoration<'_>) -> Value {
    if !object.is_object() {
        return object;
    }
    let metadata = child(&mut object, "metadata");
    for field in ["managedFields", "resourceVersion", "uid"] {
        metadata.remove(field);
    }
    let names_none = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default().is_empty();
    if decoration.namespace.is_empty() {
        metadata.remove("namespace");
    } else if names_none {
        metadata.insert("namespace".to_owned(), json!(decoration.namespace));
    }
    let labels = member(metadata, "labels");
    labels.insert(APP.to_owned(), json!(label(decoration.app.name.as_str())));
    labels.insert(inventory::PART_OF.to_owned(), json!(inventory::id(decoration.app, decoration.home)));
    let annotations = member(metadata, "annotations");
    annotations.insert(APP.to_owned(), json!(decoration.app.to_string()));
    annotations.insert(COMMIT.to_owned(), json!(decoration.commit.as_str()));
    object
}

/// A name as a label value: as it is if it may be one, otherwise its middle and a digest of all of it.
pub fn label(name: &str) -> String {
    let is_fine = |end: Option<char>| end.is_some_and(|end| end.is_ascii_alphanumeric());
    if name.len() <= LABEL_BYTES_MAX && is_fine(name.chars().next()) && is_fine(name.chars().last()) {
        return name.to_owned();
    }
    let trimmed = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let begin = &trimmed[..trimmed.floor_char_boundary(LABEL_BYTES_MAX - DIGEST_CHARACTERS - 1)];
    format!("{begin}-{}", short_digest(name)).trim_start_matches('-').to_owned()
}

/// The beginning of a digest, of characters that may stand in names and labels.
pub(super) fn short_digest(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    hex.take(DIGEST_CHARACTERS / 2).collect()
}

/// The whole digest, as the `ApplySet` convention writes it.
pub(super) fn long_digest(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()))
}

fn child<'a>(object: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    if !object[name].is_object() {
        object[name] = json!({});
    }
    object[name].as_object_mut().expect("it was made an object above")
}

fn member<'a>(map: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(name).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was made an object above")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decorated(object: Value, namespace: &str) -> Value {
        let app = AppId::parse("shop/payments").unwrap();
        let commit = CommitId::parse("0123456789012345678901234567890123456789").unwrap();
        decorate(object, &Decoration { app: &app, commit: &commit, namespace, home: "taffrail-system" })
    }

    #[test]
    fn objects_carry_their_app_and_commit() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "it", "uid": "1", "resourceVersion": "2", "managedFields": [],
            "labels": {"app": "web"}, "annotations": null}});
        let metadata = &decorated(object, "web")["metadata"];
        assert_eq!(metadata["namespace"], "web");
        assert_eq!(metadata["labels"]["app"], "web");
        assert_eq!(metadata["labels"][APP], "payments");
        assert_eq!(metadata["annotations"][APP], "shop/payments");
        assert_eq!(metadata["annotations"][COMMIT], "0123456789012345678901234567890123456789");
        assert!(metadata["labels"][inventory::PART_OF].as_str().unwrap().starts_with("applyset-"));
        for field in ["uid", "resourceVersion", "managedFields"] {
            assert!(metadata.get(field).is_none(), "{field}");
        }
    }

    #[test]
    fn a_namespace_of_their_own_stays_and_kinds_without_one_get_none() {
        let object = |namespace| json!({"metadata": {"name": "it", "namespace": namespace}});
        assert_eq!(decorated(object("other"), "web")["metadata"]["namespace"], "other");
        assert_eq!(decorated(object(""), "web")["metadata"]["namespace"], "web");
        assert!(decorated(object("other"), "")["metadata"].get("namespace").is_none());
        assert_eq!(decorated(Value::Null, "web"), Value::Null);
    }

    #[test]
    fn long_names_fit_a_label_and_stay_apart() {
        let (one, other) = (format!("{}.one", "a".repeat(80)), format!("{}.other", "a".repeat(80)));
        assert_ne!(label(&one), label(&other));
        assert_eq!(label(&one).len(), LABEL_BYTES_MAX);
        assert_eq!(label("payments"), "payments");
    }

    proptest::proptest! {
        #[test]
        fn every_app_name_becomes_a_label(name in "[a-z0-9-]{1,20}([.][a-z0-9-]{1,20}){0,6}") {
            let label = label(&name);
            proptest::prop_assert!(label.len() <= LABEL_BYTES_MAX);
            let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            proptest::prop_assert!(ends_well(label.chars().next()) && ends_well(label.chars().last()));
        }
    }
}
