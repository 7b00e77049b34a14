//! Which fields of an object our manager owns, read from `metadata.managedFields`, and who took the ones that are gone.
//!
//! A path is written as the API server writes it in a conflict: `.spec.template.spec.containers[name="web"].image`;
//! a member of a set is `.metadata.finalizers["example.com/hold"]`, a place in a list `[0]`.

use super::stamp;
use crate::time::At;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;
use serde_json::{Map, Value};

/// Field manager of everything that Taffrail applies.
pub const MANAGER: &str = "taffrail";

/// Deepest nesting of fields that is followed; deeper ones count as one field (Kubernetes' own limit for CRDs is 64).
const DEPTH_MAX: usize = 64;

/// The fields that our manager owns: sorted paths without doubles, and one number that stands for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    paths: Vec<Box<str>>,
}

/// One entry of `managedFields` that is neither ours nor a record of status alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taker {
    /// Name of the field manager, such as `kubectl-edit`.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// When it last changed its set of fields, as the API server wrote it.
    pub at: Option<At>,
    /// True if it owns the field now; false if nobody does and it is merely the last one that wrote (it removed the field).
    pub owns: bool,
}

/// A field that was ours and is not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The field.
    pub path: String,
    /// Who took it; `None` if no other manager ever wrote to the object.
    pub by: Option<Taker>,
}

impl Owned {
    /// The fields that [`MANAGER`] owns by server-side apply; empty if it owns none. `managed_fields` is the list itself.
    pub fn of(managed_fields: &Value) -> Owned {
        let entries = managed_fields.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut paths = Vec::<Box<str>>::new();
        for entry in entries.iter().filter(|entry| is_ours(entry)) {
            if let Some(fields) = entry.get("fieldsV1").and_then(Value::as_object) {
                walk(&mut String::new(), fields, 0, &mut paths);
            }
        }
        Owned::from_paths(paths)
    }

    /// The fields of a whole object; empty if it has no `metadata.managedFields`.
    pub fn of_object(object: &Value) -> Owned {
        object.pointer("/metadata/managedFields").map(Owned::of).unwrap_or_default()
    }

    /// A set read back from storage.
    pub fn from_paths(paths: impl IntoIterator<Item = impl Into<Box<str>>>) -> Owned {
        let mut paths: Vec<Box<str>> = paths.into_iter().map(Into::into).collect();
        paths.sort_unstable();
        paths.dedup();
        Owned { paths }
    }

    /// The paths, sorted, each once.
    pub fn paths(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.paths.iter().map(|path| &**path)
    }

    /// Whether nothing is owned.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// FNV-1a, 64 bit, over the sorted paths, each followed by a zero byte. Never changes: it is stored in journals.
    pub fn fingerprint(&self) -> u64 {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let bytes = self.paths.iter().flat_map(|path| path.bytes().chain([0]));
        bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
    }
}

/// Which of the fields in `before` are no longer ours by `managed_fields` (the list of the object as it is now), in order.
pub fn lost(before: &Owned, managed_fields: &Value) -> Vec<Lost> {
    let now = Owned::of(managed_fields);
    let gone: Vec<&str> = before.paths().filter(|path| !contains(&now, path)).collect();
    if gone.is_empty() {
        return Vec::new();
    }
    let entries = managed_fields.as_array().map(Vec::as_slice).unwrap_or_default();
    let others: Vec<(Taker, BTreeSet<Box<str>>, bool)> =
        entries.iter().filter(|entry| !is_ours(entry)).map(other).collect();
    gone.into_iter().map(|path| Lost { path: path.to_string(), by: taker_of(path, &others) }).collect()
}

fn contains(owned: &Owned, path: &str) -> bool {
    owned.paths.binary_search_by(|known| (**known).cmp(path)).is_ok()
}

fn is_ours(entry: &Value) -> bool {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
    text("manager") == MANAGER && text("operation") == "Apply" && text("subresource").is_empty()
}

/// Another manager's entry: who, its paths, and whether it writes more than status.
fn other(entry: &Value) -> (Taker, BTreeSet<Box<str>>, bool) {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
    let mut paths = Vec::<Box<str>>::new();
    if let Some(fields) = entry.get("fieldsV1").and_then(Value::as_object) {
        walk(&mut String::new(), fields, 0, &mut paths);
    }
    let taker = Taker {
        manager: text("manager").to_string(),
        operation: text("operation").to_string(),
        at: stamp::at_of(text("time")),
        owns: false,
    };
    (taker, paths.into_iter().collect(), text("subresource") != "status")
}

/// The owner of a path; else the owner of something around or inside it; else the last one that wrote to the object's spec.
fn taker_of(path: &str, others: &[(Taker, BTreeSet<Box<str>>, bool)]) -> Option<Taker> {
    let latest = |found: &mut dyn Iterator<Item = &(Taker, BTreeSet<Box<str>>, bool)>| {
        found.max_by_key(|(taker, _, _)| taker.at).map(|(taker, _, _)| taker.clone())
    };
    let owner = latest(&mut others.iter().filter(|(_, paths, _)| paths.contains(path)))
        .or_else(|| latest(&mut others.iter().filter(|(_, paths, _)| has_kin(paths, path))));
    match owner {
        Some(taker) => Some(Taker { owns: true, ..taker }),
        None => latest(&mut others.iter().filter(|(_, _, writes_spec)| *writes_spec)),
    }
}

/// Whether a set holds a field inside `path`, or a whole subtree that contains it as one field.
fn has_kin(paths: &BTreeSet<Box<str>>, path: &str) -> bool {
    let is_inside =
        |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with(['.', '[']));
    // A path with fields inside it stands for the container alone, not for its content.
    let is_whole = |outer: &str| !paths.iter().any(|known| is_inside(outer, known));
    paths.iter().any(|known| is_inside(path, known) || is_inside(known, path) && is_whole(known))
}

/// Collects the paths of one `fieldsV1` tree: a leaf is a member, and so is a node that has the entry `.`.
fn walk(prefix: &mut String, fields: &Map<String, Value>, depth: usize, out: &mut Vec<Box<str>>) {
    for (name, below) in fields {
        if name == "." {
            out.push(Box::from(prefix.as_str()));
            continue;
        }
        let length = prefix.len();
        step(prefix, name);
        match below.as_object() {
            Some(below) if !below.is_empty() && depth < DEPTH_MAX => walk(prefix, below, depth + 1, out),
            _ => out.push(Box::from(prefix.as_str())),
        }
        prefix.truncate(length);
    }
}

/// Appends one element: `f:` a field, `k:` the keys of a list's item, `v:` a member of a set, `i:` a place in a list.
fn step(path: &mut String, element: &str) {
    let (form, text) = element.split_once(':').unwrap_or(("f", element));
    let parsed = || serde_json::from_str::<Value>(text).ok();
    match form {
        "f" => {
            path.push('.');
            path.push_str(text);
        }
        "k" => {
            let keys = parsed();
            let pairs = keys.as_ref().and_then(Value::as_object);
            path.push('[');
            for (place, (key, value)) in pairs.into_iter().flatten().enumerate() {
                let comma = if place == 0 { "" } else { "," };
                let _ = write!(path, "{comma}{key}={value}");
            }
            path.push(']');
        }
        _ => {
            path.push('[');
            path.push_str(text);
            path.push(']');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn managed() -> Value {
        json!([
            {
                "manager": "taffrail", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-11-05T10:00:00Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {
                    "f:metadata": {"f:labels": {"f:app.kubernetes.io/name": {}}, "f:finalizers": {"v:\"example.com/hold\"": {}}},
                    "f:spec": {
                        "f:replicas": {},
                        "f:template": {"f:spec": {"f:containers": {
                            "k:{\"name\":\"web\"}": {
                                ".": {}, "f:name": {}, "f:image": {},
                                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}
                            }
                        }}}
                    }
                }
            },
            {
                "manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
                "time": "2026-11-05T12:00:00Z", "fieldsV1": {"f:status": {"f:replicas": {}}}
            }
        ])
    }

    const PATHS: [&str; 8] = [
        ".metadata.finalizers[\"example.com/hold\"]",
        ".metadata.labels.app.kubernetes.io/name",
        ".spec.replicas",
        ".spec.template.spec.containers[name=\"web\"]",
        ".spec.template.spec.containers[name=\"web\"].image",
        ".spec.template.spec.containers[name=\"web\"].name",
        ".spec.template.spec.containers[name=\"web\"].ports[containerPort=80,protocol=\"TCP\"]",
        ".spec.template.spec.containers[name=\"web\"].ports[containerPort=80,protocol=\"TCP\"].containerPort",
    ];

    #[test]
    fn paths_read_as_people_write_them() {
        let owned = Owned::of(&managed());
        assert_eq!(owned.paths().collect::<Vec<_>>(), PATHS);
    }

    #[test]
    fn the_fingerprint_is_fixed_for_ever() {
        assert_eq!(Owned::default().fingerprint(), 0xcbf2_9ce4_8422_2325);
        assert_eq!(Owned::from_paths([".spec.replicas"]).fingerprint(), 0xcdef_f5d9_cf37_9a13);
        assert_ne!(
            Owned::from_paths(["ab", "c"]).fingerprint(),
            Owned::from_paths(["a", "bc"]).fingerprint()
        );
    }

    #[test]
    fn only_our_apply_entry_counts() {
        for (field, value) in [("manager", "kubectl"), ("operation", "Update"), ("subresource", "scale")] {
            let mut fields = managed();
            fields[0][field] = json!(value);
            assert!(Owned::of(&fields).is_empty(), "{field}");
        }
        assert!(Owned::of(&Value::Null).is_empty());
        assert!(Owned::of_object(&json!({"metadata": {"managedFields": managed()}})).paths().eq(PATHS));
    }

    #[test]
    fn whoever_edits_a_field_is_named() {
        let before = Owned::of(&managed());
        let mut fields = managed();
        fields[0]["fieldsV1"]["f:spec"].as_object_mut().unwrap().remove("f:replicas");
        fields.as_array_mut().unwrap().push(json!({
            "manager": "kubectl-edit", "operation": "Update", "time": "2026-11-05T11:00:00Z",
            "fieldsV1": {"f:spec": {"f:replicas": {}}}
        }));
        let at = stamp::at_of("2026-11-05T11:00:00Z");
        let taker =
            Taker { manager: "kubectl-edit".to_string(), operation: "Update".to_string(), at, owns: true };
        assert_eq!(lost(&before, &fields), [Lost { path: ".spec.replicas".to_string(), by: Some(taker) }]);
    }

    #[test]
    fn whoever_wrote_last_is_suspected_of_a_removal_but_never_a_writer_of_status() {
        let before = Owned::of(&managed());
        let mut fields = managed();
        fields[0]["fieldsV1"]["f:metadata"].as_object_mut().unwrap().remove("f:labels");
        let [only] = &lost(&before, &fields)[..] else { panic!("one field is lost") };
        assert_eq!(only.by, None, "the only other manager writes status");

        fields.as_array_mut().unwrap().push(json!({
            "manager": "dashboard", "operation": "Update", "time": "2026-11-05T11:00:00Z", "fieldsV1": {}
        }));
        let [only] = &lost(&before, &fields)[..] else { panic!("one field is lost") };
        let by = only.by.as_ref().unwrap();
        assert_eq!((by.manager.as_str(), by.owns), ("dashboard", false));
    }

    #[test]
    fn the_owner_of_a_subtree_is_the_owner_of_its_fields() {
        let before = Owned::from_paths([".spec.config.level"]);
        let fields =
            json!([{"manager": "tool", "operation": "Apply", "fieldsV1": {"f:spec": {"f:config": {}}}}]);
        assert!(lost(&before, &fields)[0].by.as_ref().unwrap().owns);
        let fields = json!([{"manager": "tool", "operation": "Apply",
            "fieldsV1": {"f:spec": {"f:config": {".": {}, "f:other": {}}}}}]);
        assert!(!lost(&before, &fields)[0].by.as_ref().unwrap().owns);
    }

    fn trees() -> impl Strategy<Value = Value> {
        let leaf = Just(json!({}));
        leaf.prop_recursive(5, 40, 5, |inner| {
            let name = prop::sample::select(
                &["f:a", "f:b", "k:{\"name\":\"x\"}", "v:1", "i:0", ".", "strange", "k:{"][..],
            );
            prop::collection::btree_map(name, inner, 0..5).prop_map(|map| {
                let map: Map<String, Value> = map
                    .into_iter()
                    .map(|(name, below)| (name.to_string(), if name == "." { json!({}) } else { below }))
                    .collect();
                Value::Object(map)
            })
        })
    }

    fn entry(manager: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": "Apply", "fieldsV1": fields})
    }

    proptest! {
        #[test]
        fn paths_are_sorted_and_the_fingerprint_stands_for_them(left in trees(), right in trees()) {
            let (left, right) = (Owned::of(&json!([entry(MANAGER, &left)])), Owned::of(&json!([entry(MANAGER, &right)])));
            prop_assert!(left.paths.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(left == right, left.fingerprint() == right.fingerprint());
            prop_assert_eq!(&Owned::from_paths(left.paths().rev()), &left);
        }

        #[test]
        fn what_is_lost_was_ours_and_is_not_any_more(before in trees(), now in trees(), other in trees()) {
            let fields = json!([entry(MANAGER, &now), entry("other", &other)]);
            let before = Owned::of(&json!([entry(MANAGER, &before)]));
            let gone = lost(&before, &fields);
            let ours = Owned::of(&fields);
            let others = Owned::of(&json!([entry(MANAGER, &other)]));
            for path in before.paths() {
                let found = gone.iter().find(|lost| lost.path == path);
                prop_assert_eq!(found.is_none(), contains(&ours, path));
                if let Some(found) = found && contains(&others, path) {
                    prop_assert!(found.by.as_ref().is_some_and(|by| by.owns && by.manager == "other"));
                }
            }
            prop_assert!(gone.iter().all(|lost| before.paths().any(|path| path == lost.path)));
            prop_assert!(lost(&before, &json!([entry(MANAGER, &Value::Null)])).len() == before.paths().count());
            prop_assert!(lost(&ours, &fields).is_empty());
        }

        #[test]
        fn no_value_makes_it_panic(manager in "\\PC{0,8}", key in "\\PC{0,12}") {
            let fields = json!([{"manager": MANAGER, "operation": "Apply", "fieldsV1": {key.clone(): {key: 1}}}, manager]);
            let _ = lost(&Owned::of(&fields), &fields);
        }
    }
}
