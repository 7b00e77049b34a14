//! The writing verbs: create, update, patch, server-side apply.

use std::sync::Arc;

use serde_json::{Value, json};

use super::fields::managers::{Caller, Conflict, Entry, Id, Managers};
use super::fields::set::{Element, FieldSet};
use super::fields::typed::check;
use super::patch::{self, Dialect};
use super::state::{How, State, Target};
use super::status::{Cause, Status};
use super::store::{meta, uid_of};
use super::{scale, values};

/// The manager of fields that were there before the first apply.
const BEFORE_APPLY: &str = "before-first-apply";

impl State {
    pub(crate) fn create(&mut self, target: &Target, body: Value, how: &How) -> Result<Arc<Value>, Status> {
        let object = self.accept(target, body, how)?;
        let api_version = target.kind.api_version();
        let empty = blank(target);
        let mut managers = Managers::default();
        let mut bare = object.clone();
        bare["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"));
        managers.update(target.typing(&api_version), &empty, &bare, &how.manager, "", &how.now);
        self.insert(target, bare, &managers, how)
    }

    pub(crate) fn update(&mut self, target: &Target, body: Value, how: &How) -> Result<Arc<Value>, Status> {
        let live = match (self.find(target), target.kind.kind.as_str()) {
            (Err(_), "Lease") if target.subresource.is_empty() => return self.create(target, body, how),
            (found, _) => found?,
        };
        if target.subresource == "scale" {
            let replicas = body["spec"]["replicas"].as_i64().unwrap_or(0);
            let version = meta(&body, "resourceVersion").to_owned();
            return self.update_from(target, &live, scale::with_replicas(&live, replicas, &version), how);
        }
        self.update_from(target, &live, body, how)
    }

    fn update_from(
        &mut self,
        target: &Target,
        live: &Arc<Value>,
        body: Value,
        how: &How,
    ) -> Result<Arc<Value>, Status> {
        let kind = &target.kind;
        let claims = ["resourceVersion", "uid"].map(|field| meta(&body, field).to_owned());
        let [version, uid] = claims;
        if version.is_empty() && kind.custom {
            return Err(Status::unversioned(kind, &target.name));
        }
        check_identity(target, live, &version, &uid)?;
        let managers = starting_managers(target, live, &body);
        let object = self.accept(target, body, how)?;
        let object = keep_what_is_not_asked(target, live, object);
        let api_version = kind.api_version();
        let (mut before, mut after) = ((**live).clone(), object.clone());
        drop_managers(&mut before);
        drop_managers(&mut after);
        let mut managers = managers;
        // An object that nobody's fields were recorded for stays so until its first apply.
        if target.subresource == "scale" {
            take_replicas(&mut managers, target, &before, &after, &how.manager, &api_version);
        } else if !managers.0.is_empty() {
            let typing = target.typing(&api_version);
            managers.update(typing, &before, &after, &how.manager, &target.subresource, &how.now);
        }
        self.replace(target, live, object, &managers, how)
    }

    pub(crate) fn patch(
        &mut self,
        target: &Target,
        dialect: Dialect,
        body: &Value,
        how: &How,
    ) -> Result<Arc<Value>, Status> {
        let live = self.find(target)?;
        if target.subresource == "scale" {
            let patched = patch::patch(dialect, target, &scale::of(&live), body)?;
            let replicas = patched["spec"]["replicas"].as_i64().unwrap_or(0);
            let version = meta(&patched, "resourceVersion").to_owned();
            return self.update_from(target, &live, scale::with_replicas(&live, replicas, &version), how);
        }
        let patched = patch::patch(dialect, target, &live, body)?;
        self.update_from(target, &live, patched, how)
    }

    /// Server-side apply. The flag says whether the object was made by it.
    pub(crate) fn apply(
        &mut self,
        target: &Target,
        mut config: Value,
        how: &How,
    ) -> Result<(Arc<Value>, bool), Status> {
        let kind = Arc::clone(&target.kind);
        let api_version = kind.api_version();
        self.check_config(target, &mut config, &api_version)?;
        let live = self.store.at(&target.at());
        if live.is_none() && !target.subresource.is_empty() {
            return Err(Status::not_found(&kind, &target.name));
        }
        let claims = ["resourceVersion", "uid"].map(|field| meta(&config, field).to_owned());
        let [version, uid] = claims;
        match &live {
            Some(live) if !uid.is_empty() && uid != uid_of(live) => {
                let cause = Cause::invalid("metadata.uid", &json!(uid), "field is immutable");
                // The real server checks it twice, and says so twice.
                return Err(Status::invalid(&kind, &target.name, &[cause.clone(), cause]));
            }
            Some(live) => check_identity(target, live, &version, "")?,
            None if !uid.is_empty() || !version.is_empty() => return Err(Status::stale(&kind, &target.name)),
            None => {}
        }
        let typing = target.typing(&api_version);
        let mut before = live.as_ref().map_or_else(|| blank(target), |live| (**live).clone());
        let mut managers = Managers::decode(&before);
        drop_managers(&mut before);
        if managers.0.is_empty() && live.is_some() {
            let empty = blank(target);
            managers.update(typing, &empty, &before, BEFORE_APPLY, "", &how.now);
        }
        let caller =
            Caller { name: &how.manager, subresource: &target.subresource, force: how.force, now: &how.now };
        let merged =
            managers.apply(typing, &before, &config, &caller).map_err(|conflicts| refuse(&conflicts))?;
        let object = self.accept(target, merged, &How { strict: false, ..how.clone() })?;
        match live {
            None => self.insert(target, object, &managers, how).map(|made| (made, true)),
            Some(live) => {
                let object = keep_what_is_not_asked(target, &live, object);
                self.replace(target, &live, object, &managers, how).map(|written| (written, false))
            }
        }
    }

    fn check_config(&mut self, target: &Target, config: &mut Value, api_version: &str) -> Result<(), Status> {
        let given = config["apiVersion"].as_str().unwrap_or_default().to_owned();
        let kind = config["kind"].as_str().unwrap_or_default();
        if given != api_version || kind != target.kind.kind {
            return Err(Status::bad_request(format!("invalid object type: {given}, Kind={kind}")));
        }
        let slash = if given.contains('/') { "" } else { "/" };
        let (namespace, name) = (meta(config, "namespace"), meta(config, "name"));
        let about = format!("{namespace}/{name}; {slash}{given}, Kind={kind}");
        if meta(config, "name").is_empty() {
            let name = &target.name;
            return Err(Status::bad_request(format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            )));
        }
        if !config["metadata"]["managedFields"].is_null() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        self.place(target, config)?;
        let kind = &target.kind;
        check(&kind.schema, &kind.of, config).map_err(|why| {
            Status::new(500, "", format!("failed to create typed patch object ({about}): {why}"))
        })
    }
}

/// The object before anything is said of it.
fn blank(target: &Target) -> Value {
    let mut blank = values::blank(&target.kind.schema, &target.kind.of, target.kind.custom);
    blank["apiVersion"] = json!(target.kind.api_version());
    blank["kind"] = json!(target.kind.kind);
    blank
}

fn check_identity(target: &Target, live: &Value, version: &str, uid: &str) -> Result<(), Status> {
    if !uid.is_empty() && uid != uid_of(live) {
        let at = [target.kind.plural.as_str(), &target.namespace, &target.name];
        let key = at.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            uid_of(live)
        );

        return Err(Status::conflict(&target.kind, &target.name, &why));
    }
    if !version.is_empty() && version != meta(live, "resourceVersion") {
        return Err(Status::stale(&target.kind, &target.name));
    }
    Ok(())
}

/// Whose fields an update starts from: the body's list if it holds one, else the live one.
fn starting_managers(target: &Target, live: &Value, body: &Value) -> Managers {
    let given = body.pointer("/metadata/managedFields").and_then(Value::as_array);
    match given {
        Some(_) if !target.subresource.is_empty() => Managers::decode(live),
        Some(list) if list.is_empty() || *list == [json!({})] => Managers::default(),
        Some(_) => {
            let managers = Managers::decode(body);
            if managers.0.is_empty() { Managers::decode(live) } else { managers }
        }
        None => Managers::decode(live),
    }
}

/// A change by the scale subresource is recorded only where somebody owns the number already, and without a time.
fn take_replicas(
    managers: &mut Managers,
    target: &Target,
    before: &Value,
    after: &Value,
    name: &str,
    api_version: &str,
) {
    let path = ["spec", "replicas"].map(|field| Element::Field(field.to_owned()));
    let mut wanted = FieldSet::default();
    wanted.insert(&path);
    let owned = managers.0.values().any(|entry| !entry.set.intersection(&wanted).is_empty());
    if !owned || before["spec"]["replicas"] == after["spec"]["replicas"] {
        return;
    }
    for entry in managers.0.values_mut() {
        entry.set = entry.set.difference(&wanted);
    }
    managers.0.retain(|_, entry| !entry.set.is_empty());
    let (name, subresource) = (name.to_owned(), target.subresource.clone());
    let id = Id { name, subresource, update: Some(api_version.to_owned()) };
    let entry = Entry { api_version: api_version.to_owned(), time: None, set: FieldSet::default() };
    let taken = managers.0.entry(id).or_insert(entry);
    taken.set = taken.set.union(&wanted);
}

fn drop_managers(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// The object to store: what this path may not change is taken from the live object.
fn keep_what_is_not_asked(target: &Target, live: &Value, new: Value) -> Value {
    let mut object = match target.subresource.as_str() {
        "status" if target.kind.custom => {
            let mut object = live.clone();
            copy(&mut object, &new, "status");
            object
        }
        "status" => {
            let mut object = live.clone();
            copy(&mut object, &new, "status");
            copy(&mut object, &new, "metadata");
            copy(&mut object["metadata"], &live["metadata"], "labels");
            object
        }
        "finalize" => {
            let mut object = live.clone();
            copy(&mut object["spec"], &new["spec"], "finalizers");
            object
        }
        _ => {
            let mut object = new;
            if target.kind.has_status {
                copy(&mut object, live, "status");
            }
            if target.kind.is("", "Namespace") {
                copy(&mut object, live, "spec");
            }
            if target.kind.is("", "Service") {
                for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                    if object["spec"].get(field).is_none() && object["spec"]["type"] != json!("ExternalName")
                    {
                        copy(&mut object["spec"], &live["spec"], field);
                    }
                }
            }
            if target.kind.is("batch", "Job") && object["spec"].get("selector").is_none() {
                copy(&mut object["spec"], &live["spec"], "selector");
                let labels = live["spec"]["template"]["metadata"]["labels"].clone();
                object["spec"]["template"]["metadata"]["labels"] = labels;
            }
            object
        }
    };
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
        "selfLink",
    ] {
        copy(&mut object["metadata"], &live["metadata"], field);
    }
    object
}

/// Makes a field what it is in another object, absent included.
fn copy(to: &mut Value, from: &Value, field: &str) {
    let Some(map) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) => map.insert(field.to_owned(), value.clone()),
        None => map.remove(field),
    };
}

fn refuse(conflicts: &[Conflict]) -> Status {
    let causes: Vec<Cause> = conflicts
        .iter()
        .map(|conflict| Cause {
            reason: "FieldManagerConflict",
            field: conflict.path.clone(),
            message: format!("conflict with {}", conflict.manager),
        })
        .collect();
    let message = match conflicts {
        [one] => format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager, one.path),
        many => {
            let mut managers: Vec<&String> = many.iter().map(|conflict| &conflict.manager).collect();
            managers.sort();
            managers.dedup();
            let lines: Vec<String> = managers
                .into_iter()
                .map(|manager| {
                    let paths = many.iter().filter(|conflict| conflict.manager == *manager);
                    let paths: Vec<&str> = paths.map(|conflict| conflict.path.as_str()).collect();
                    format!("conflicts with {manager}:\n- {}", paths.join("\n- "))
                })
                .collect();
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    Status::apply_conflict(message, &causes)
}
