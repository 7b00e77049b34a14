//! Deletion: at once, or marked until the finalizers and the dependents allow it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::state::{State, Target, is_released, now};
use super::status::Status;
use super::store::{meta, uid_of};

/// What becomes of the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

/// The wishes of a deletion.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deletion {
    pub(crate) propagation: Option<Propagation>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: bool,
}

/// What a deletion came to.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// Gone, with this identifier.
    Gone(String),
    /// Marked; something holds it.
    Held(Arc<Value>),
}

impl State {
    pub(crate) fn delete(&mut self, target: &Target, wish: &Deletion) -> Result<Deleted, Status> {
        let live = self.find(target)?;
        let kind = &target.kind;
        if let Some(uid) = wish.uid.as_deref().filter(|uid| *uid != uid_of(&live)) {
            let why = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                uid_of(&live)
            );
            return Err(Status::precondition(kind, &target.name, &why));
        }
        let version = meta(&live, "resourceVersion");
        if let Some(wanted) = wish.resource_version.as_deref().filter(|wanted| *wanted != version) {
            let why = format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
            );
            return Err(Status::precondition(kind, &target.name, &why));
        }
        let uid = uid_of(&live).to_owned();
        let mut object = (*live).clone();
        hold(&mut object, target, wish.propagation);
        let first = live["metadata"]["deletionTimestamp"].is_null();
        if first {
            mark(&mut object);
        }
        if wish.dry_run {
            return Ok(if is_released(&object) {
                Deleted::Gone(uid)
            } else {
                Deleted::Held(Arc::new(object))
            });
        }
        if is_released(&object) {
            self.remove(target);
            return Ok(Deleted::Gone(uid));
        }
        if object == *live {
            return Ok(Deleted::Held(live));
        }
        Ok(Deleted::Held(self.store.put(&target.at(), object)))
    }
}

/// Marks an object as being deleted.
fn mark(object: &mut Value) {
    let namespace = object["kind"] == json!("Namespace");
    let definition = object["kind"] == json!("CustomResourceDefinition");
    let metadata = &mut object["metadata"];
    let now = now();
    metadata["deletionTimestamp"] = json!(now);
    if definition {
        if let Some(conditions) = object["status"]["conditions"].as_array_mut() {
            conditions.push(json!({
                "type": "Terminating",
                "status": "True",
                "reason": "InstanceDeletionPending",
                "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
                "lastTransitionTime": now,
            }));
        }
        return;
    }
    if let Some(generation) = metadata["generation"].as_u64() {
        metadata["generation"] = json!(generation + 1);
    }
    if namespace {
        object["status"]["phase"] = json!("Terminating");
    } else {
        metadata["deletionGracePeriodSeconds"] = json!(0);
    }
}

/// Adds the finalizer that a way of propagation works by.
fn hold(object: &mut Value, target: &Target, propagation: Option<Propagation>) {
    const DEFINITION: &str = "customresourcecleanup.apiextensions.k8s.io";
    let jobs = target.kind.is("batch", "Job");
    let default = if jobs { Propagation::Orphan } else { Propagation::Background };
    let mut wanted = match propagation.unwrap_or(default) {
        Propagation::Background => vec![],
        Propagation::Foreground => vec!["foregroundDeletion"],
        Propagation::Orphan => vec!["orphan"],
    };
    let deleting = !object["metadata"]["deletionTimestamp"].is_null();
    if target.kind.is("apiextensions.k8s.io", "CustomResourceDefinition") && !deleting {
        wanted.push(DEFINITION);
    }
    let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if propagation.is_some() {
        finalizers.retain(|name| !matches!(name.as_str(), Some("foregroundDeletion" | "orphan")));
    }
    finalizers.extend(wanted.into_iter().map(|name| json!(name)));
    if finalizers.is_empty() {
        object["metadata"].as_object_mut().and_then(|metadata| metadata.remove("finalizers"));
    } else {
        object["metadata"]["finalizers"] = Value::Array(finalizers);
    }
}
