//! Objects, their resourceVersions, and the history that watches and paged lists read from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::Resource;

/// Changes kept per resource; a watch that is further behind gets 410. A number of the API server's order of magnitude.
pub(crate) const HISTORY_MAX: usize = 10_000;

/// Namespace (empty for cluster-wide kinds) and name.
pub(crate) type Name = (String, String);

/// One object, whatever its version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectRef {
    pub(crate) resource: Resource,
    pub(crate) name: Name,
}

/// What happened to an object.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    /// `None`: it was made.
    pub(crate) before: Option<Arc<Value>>,
    /// `None`: it was removed.
    pub(crate) after: Option<Arc<Value>>,
}

#[derive(Clone, Debug, Default)]
struct Table {
    objects: BTreeMap<Name, Arc<Value>>,
    history: VecDeque<(Name, Change)>,
    /// Changes up to this revision are forgotten.
    floor: u64,
}

/// All objects of one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    revision: u64,
    tables: BTreeMap<Resource, Table>,
    owners: BTreeMap<String, BTreeSet<ObjectRef>>,
    by_uid: BTreeMap<String, ObjectRef>,
    /// Objects that changed since the controllers looked last.
    dirty: BTreeSet<ObjectRef>,
    /// Identifiers of objects that were removed since then.
    gone: BTreeSet<String>,
}

/// The history asked for is forgotten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compacted {
    pub(crate) floor: u64,
}

impl Store {
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.tables.get(resource)?.objects.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    pub(crate) fn at(&self, at: &ObjectRef) -> Option<Arc<Value>> {
        self.tables.get(&at.resource)?.objects.get(&at.name).cloned()
    }

    pub(crate) fn with_uid(&self, uid: &str) -> Option<&ObjectRef> {
        self.by_uid.get(uid)
    }

    /// Objects that name this owner.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<ObjectRef> {
        self.owners.get(uid).into_iter().flatten().cloned().collect()
    }

    /// All objects of a resource as they are now, by namespace and name.
    pub(crate) fn all(&self, resource: &Resource) -> impl Iterator<Item = (&Name, &Arc<Value>)> {
        self.tables.get(resource).into_iter().flat_map(|table| &table.objects)
    }

    /// Everything in one namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<ObjectRef> {
        let mut out = Vec::new();
        for (resource, table) in &self.tables {
            let start = (namespace.to_owned(), String::new());
            let names =
                table.objects.range(start..).map(|(name, _)| name).take_while(|name| name.0 == namespace);
            out.extend(names.map(|name| ObjectRef { resource: resource.clone(), name: name.clone() }));
        }
        out
    }

    /// Objects of a resource as they were at a revision.
    ///
    /// # Errors
    /// [`Compacted`] if the history does not reach back that far.
    pub(crate) fn snapshot(
        &self,
        resource: &Resource,
        revision: u64,
    ) -> Result<BTreeMap<Name, Arc<Value>>, Compacted> {
        let Some(table) = self.tables.get(resource) else { return Ok(BTreeMap::new()) };
        if revision < table.floor {
            return Err(Compacted { floor: table.floor });
        }
        let mut objects = table.objects.clone();
        for (name, change) in table.history.iter().rev().take_while(|(_, change)| change.revision > revision)
        {
            match &change.before {
                Some(before) => objects.insert(name.clone(), Arc::clone(before)),
                None => objects.remove(name),
            };
        }
        Ok(objects)
    }

    /// Up to `most` changes of a resource after a revision.
    ///
    /// # Errors
    /// [`Compacted`] if the history does not reach back that far.
    pub(crate) fn changes(
        &self,
        resource: &Resource,
        after: u64,
        most: usize,
    ) -> Result<Vec<(Name, Change)>, Compacted> {
        let Some(table) = self.tables.get(resource) else { return Ok(Vec::new()) };
        if after < table.floor {
            return Err(Compacted { floor: table.floor });
        }
        let start = table.history.partition_point(|(_, change)| change.revision <= after);
        Ok(table.history.iter().skip(start).take(most).cloned().collect())
    }

    /// Begins a table whose history starts now.
    pub(crate) fn begin(&mut self, resource: &Resource) {
        let floor = self.revision;
        self.tables.entry(resource.clone()).or_insert_with(|| Table { floor, ..Table::default() });
    }

    /// Forgets all history.
    pub(crate) fn compact(&mut self) {
        for table in self.tables.values_mut() {
            table.history.clear();
            table.floor = self.revision;
        }
    }

    /// Stores an object under a new resourceVersion.
    pub(crate) fn put(&mut self, at: &ObjectRef, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(object);
        let before = self
            .tables
            .entry(at.resource.clone())
            .or_default()
            .objects
            .insert(at.name.clone(), Arc::clone(&object));
        if let Some(before) = &before {
            self.unlink(at, before);
        }
        for owner in owner_uids(&object) {
            self.owners.entry(owner).or_default().insert(at.clone());
        }
        self.by_uid.insert(uid_of(&object).to_owned(), at.clone());
        self.record(at, before, Some(Arc::clone(&object)));
        object
    }

    /// Removes an object; gives its last state under the resourceVersion of the removal.
    pub(crate) fn remove(&mut self, at: &ObjectRef) -> Option<Arc<Value>> {
        let before = self.tables.get_mut(&at.resource)?.objects.remove(&at.name)?;
        self.revision += 1;
        let mut last = (*before).clone();
        last["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.unlink(at, &before);
        self.by_uid.remove(uid_of(&before));
        self.gone.insert(uid_of(&before).to_owned());
        let last = Arc::new(last);
        self.record(at, Some(Arc::clone(&last)), None);
        Some(last)
    }

    /// What changed since the last call: objects, and identifiers of removed ones.
    pub(crate) fn take_dirty(&mut self) -> (BTreeSet<ObjectRef>, BTreeSet<String>) {
        (std::mem::take(&mut self.dirty), std::mem::take(&mut self.gone))
    }

    fn unlink(&mut self, at: &ObjectRef, object: &Value) {
        for owner in owner_uids(object) {
            if let Some(all) = self.owners.get_mut(&owner) {
                all.remove(at);
                if all.is_empty() {
                    self.owners.remove(&owner);
                }
            }
        }
    }

    fn record(&mut self, at: &ObjectRef, before: Option<Arc<Value>>, after: Option<Arc<Value>>) {
        self.dirty.insert(at.clone());
        let revision = self.revision;
        let Some(table) = self.tables.get_mut(&at.resource) else { return };
        table.history.push_back((at.name.clone(), Change { revision, before, after }));
        if table.history.len() > HISTORY_MAX
            && let Some((_, forgotten)) = table.history.pop_front()
        {
            table.floor = forgotten.revision;
        }
    }
}

/// The identifier of an object.
pub(crate) fn uid_of(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default()
}

/// The identifiers of an object's owners.
pub(crate) fn owner_uids(object: &Value) -> Vec<String> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().filter_map(|owner| owner["uid"].as_str().map(str::to_owned)).collect()
}

/// A text field of `metadata`, empty if absent.
pub(crate) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}
