//! Who owns which fields of one object, and what an update or an apply changes about it.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::compare::compare;
use super::merge::merge;
use super::remove::remove;
use super::schema::{Ref, Schema};
use super::set::{Element, FieldSet, show};
use super::typed::field_set;

/// Update managers kept apart per object; older ones are put together. Source: the API server's own limit.
const UPDATERS_MAX: usize = 10;
/// The manager that the oldest updaters are put together under.
const ANCIENT: &str = "ancient-changes";
/// Stands for the request itself while an update is worked out.
const SELF: &str = "current-operation";

/// What tells two managers of one object apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) name: String,
    pub(crate) subresource: String,
    /// The API version of an update; an applier is the same in every version.
    pub(crate) update: Option<String>,
}

/// The fields of one manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) api_version: String,
    pub(crate) time: Option<String>,
    pub(crate) set: FieldSet,
}

/// Which top-level fields a request may change at all.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach {
    /// All fields but the named one.
    AllBut(&'static str),
    /// Only the named one.
    Only(&'static str),
    Everything,
}

impl Reach {
    fn allows(self, field: &str) -> bool {
        match self {
            Reach::AllBut(name) => field != name,
            Reach::Only(name) => field == name,
            Reach::Everything => true,
        }
    }
}

/// One field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The manager as the API server prints it: `"kubectl-edit" using apps/v1`.
    pub(crate) manager: String,
    pub(crate) path: String,
}

/// Values and their type in one place.
#[derive(Clone, Copy)]
pub(crate) struct Typing<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) of: &'a Ref,
    pub(crate) api_version: &'a str,
    pub(crate) reach: Reach,
}

/// The managers of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Managers(pub(crate) BTreeMap<Id, Entry>);

impl Managers {
    /// Reads `metadata.managedFields`.
    pub(crate) fn decode(object: &Value) -> Managers {
        let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        Managers(entries.into_iter().flatten().filter_map(decode_entry).collect())
    }

    /// Writes `metadata.managedFields` in the order of the API server; without managers the field goes.
    pub(crate) fn encode(&self, object: &mut Value) {
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        let mut entries: Vec<(&Id, &Entry)> = self.0.iter().collect();
        entries.sort_by(order);
        let encoded: Vec<Value> = entries.into_iter().map(|(id, entry)| encode_entry(id, entry)).collect();
        if encoded.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".to_owned(), Value::Array(encoded));
        }
    }

    /// Whether both say the same but for the times.
    pub(crate) fn same_but_time(&self, other: &Managers) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|((id, entry), (other_id, other_entry))| {
                id == other_id && entry.api_version == other_entry.api_version && entry.set == other_entry.set
            })
    }

    /// A write that is no apply: the caller takes every field that it changes.
    pub(crate) fn update(
        &mut self,
        typing: Typing<'_>,
        live: &Value,
        new: &Value,
        name: &str,
        sub: &str,
        now: &str,
    ) {
        let own = |name: &str| Id {
            name: name.to_owned(),
            subresource: sub.to_owned(),
            update: Some(typing.api_version.to_owned()),
        };
        let comparison =
            compare(typing.schema, typing.of, live, new).keep(|field| typing.reach.allows(field));
        let changed = comparison.changed();
        for entry in self.0.values_mut() {
            entry.set = entry.set.difference(&changed).difference(&comparison.removed);
        }
        self.0.retain(|_, entry| !entry.set.is_empty());
        let api_version = typing.api_version.to_owned();
        self.0.insert(own(SELF), Entry { api_version, time: Some(now.to_owned()), set: changed });
        self.strip();
        if let Some(taken) = self.0.remove(&own(SELF)) {
            let entry = self
                .0
                .entry(own(name))
                .or_insert_with(|| Entry { set: FieldSet::default(), ..taken.clone() });
            entry.set = entry.set.union(&taken.set);
            entry.time = taken.time;
        }
        self.cap();
    }

    /// A server-side apply. Gives the merged object.
    ///
    /// # Errors
    /// The fields that others own with another value, unless `force`.
    pub(crate) fn apply(
        &mut self,
        typing: Typing<'_>,
        live: &Value,
        config: &Value,
        caller: &Caller<'_>,
    ) -> Result<Value, Vec<Conflict>> {
        let Typing { schema, of, api_version, reach } = typing;
        let id =
            Id { name: caller.name.to_owned(), subresource: caller.subresource.to_owned(), update: None };
        let last = self.0.get(&id).cloned();
        let set = field_set(schema, of, config).keep(|field| reach.allows(field));
        let time = last.as_ref().and_then(|entry| entry.time.clone());
        self.0.insert(id.clone(), Entry { api_version: api_version.to_owned(), time, set });

        let mut merged = merge(schema, of, live, config);
        if let Some(last) = last.filter(|last| !last.set.is_empty()) {
            merged = self.prune(typing, &merged, &last.set);
        }
        let comparison = compare(schema, of, live, &merged).keep(|field| reach.allows(field));
        let changed = comparison.changed();
        let mut conflicts = Vec::new();
        for (other, entry) in self.0.iter().filter(|(other, _)| **other != id) {
            for path in entry.set.intersection(&changed).paths() {
                conflicts.push(Conflict { manager: describe(other), path: show(&path) });
            }
        }
        if !conflicts.is_empty() && !caller.force {
            return Err(conflicts);
        }
        for (_, entry) in self.0.iter_mut().filter(|(other, _)| **other != id) {
            entry.set = entry.set.difference(&changed).difference(&comparison.removed);
        }
        if merged != *live
            && let Some(entry) = self.0.get_mut(&id)
        {
            entry.time = Some(caller.now.to_owned());
        }
        self.strip();
        Ok(merged)
    }

    /// Takes away what the caller applied last time, does not apply now, and nobody else owns.
    fn prune(&self, typing: Typing<'_>, merged: &Value, last: &FieldSet) -> Value {
        let Typing { schema, of, .. } = typing;
        let grow = |set: &FieldSet| set.with_named_parents(schema, of);
        let last = grow(last);
        let all = grow(&field_set(schema, of, merged));
        let managed = self.0.values().fold(FieldSet::default(), |sum, entry| sum.union(&entry.set));
        let bare = remove(schema, of, merged, &last);
        let kept = grow(&field_set(schema, of, &bare)).union(&grow(&managed));
        let owned = remove(schema, of, merged, &all.difference(&kept));
        let owned = grow(&field_set(schema, of, &owned));
        remove(schema, of, merged, &all.difference(&owned).intersection(&last))
    }

    /// Takes out the fields that nobody can own.
    fn strip(&mut self) {
        const NOBODYS: [&str; 8] = [
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
        ];
        let field = |name: &str| Element::Field(name.to_owned());
        for entry in self.0.values_mut() {
            for name in ["apiVersion", "kind", "metadata"] {
                entry.set.remove(&[field(name)]);
            }
            for name in NOBODYS {
                entry.set.remove(&[field("metadata"), field(name)]);
            }
        }
        self.0.retain(|_, entry| !entry.set.is_empty());
    }

    fn cap(&mut self) {
        loop {
            let updaters = self.0.iter().filter(|(id, _)| id.update.is_some());
            let mut oldest: Vec<(Option<String>, Id)> =
                updaters.map(|(id, entry)| (entry.time.clone(), id.clone())).collect();
            if oldest.len() <= UPDATERS_MAX {
                return;
            }
            oldest.sort();
            for (_, id) in oldest.into_iter().take(2) {
                let Some(entry) = self.0.remove(&id) else { continue };
                let bucket = Id {
                    name: ANCIENT.to_owned(),
                    subresource: String::new(),
                    update: Some(entry.api_version.clone()),
                };
                let sum = self.0.entry(bucket).or_insert_with(|| entry.clone());
                sum.set = sum.set.union(&entry.set);
                sum.time = entry.time;
            }
        }
    }
}

/// Who applies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) name: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) force: bool,
    pub(crate) now: &'a str,
}

fn describe(id: &Id) -> String {
    let mut text = format!("{:?}", id.name);
    if !id.subresource.is_empty() {
        text = format!("{text} with subresource {:?}", id.subresource);
    }
    match &id.update {
        Some(version) => format!("{text} using {version}"),
        None => text,
    }
}

fn order(a: &(&Id, &Entry), b: &(&Id, &Entry)) -> Ordering {
    let rank = |(id, entry): &(&Id, &Entry)| {
        (
            id.update.is_some(),
            entry.time.clone(),
            id.name.clone(),
            entry.api_version.clone(),
            id.subresource.clone(),
        )
    };
    rank(a).cmp(&rank(b))
}

fn decode_entry(value: &Value) -> Option<(Id, Entry)> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let api_version = text("apiVersion");
    let update = match text("operation").as_str() {
        "Apply" => None,
        "Update" => Some(api_version.clone()),
        _ => return None,
    };
    let set = FieldSet::decode(value.get("fieldsV1").unwrap_or(&Value::Null));
    let time = value.get("time").and_then(Value::as_str).map(str::to_owned);
    Some((
        Id { name: text("manager"), subresource: text("subresource"), update },
        Entry { api_version, time, set },
    ))
}

fn encode_entry(id: &Id, entry: &Entry) -> Value {
    let mut out = Map::new();
    out.insert("manager".to_owned(), json!(id.name));
    out.insert("operation".to_owned(), json!(if id.update.is_some() { "Update" } else { "Apply" }));
    out.insert("apiVersion".to_owned(), json!(entry.api_version));
    out.insert("fieldsType".to_owned(), json!("FieldsV1"));
    out.insert("fieldsV1".to_owned(), entry.set.encode());
    if let Some(time) = &entry.time {
        out.insert("time".to_owned(), json!(time));
    }
    if !id.subresource.is_empty() {
        out.insert("subresource".to_owned(), json!(id.subresource));
    }
    Value::Object(out)
}
