//! Garbage collection: objects follow their owners, contents follow their namespace, custom resources their definition.

use serde_json::{Value, json};

use super::super::delete::{Deletion, Propagation};
use super::super::kinds::Resource;
use super::super::state::State;
use super::super::store::{ObjectRef, owner_uids, uid_of};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
const PROTECTIONS: [&str; 2] = ["kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"];
const DEFINITION: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Whether an object names owners and none of them is there.
pub(super) fn is_orphaned(state: &State, object: &Value) -> bool {
    let owners = owner_uids(object);
    !owners.is_empty() && owners.iter().all(|uid| state.store.with_uid(uid).is_none())
}

pub(super) fn delete(state: &mut State, at: &ObjectRef) {
    let Some(target) = state.target_at(at) else { return };
    let wish = Deletion { propagation: Some(Propagation::Background), ..Deletion::default() };
    if let Err(refusal) = state.delete(&target, &wish) {
        tracing::debug!(object = target.name, refusal = refusal.message, "not collected");
    }
}

/// An object is gone: what it alone owned goes, other things lose the reference.
pub(super) fn gone(state: &mut State, uid: &str) {
    for at in state.store.dependents(uid) {
        let Some(object) = state.store.at(&at) else { continue };
        if is_orphaned(state, &object) {
            delete(state, &at);
        } else {
            release(state, &at, uid);
        }
    }
}

/// Takes one owner reference out.
fn release(state: &mut State, at: &ObjectRef, uid: &str) {
    let Some(target) = state.target_at(at) else { return };
    state.edit(&target, |object| {
        let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() else { return };
        owners.retain(|owner| owner["uid"] != json!(uid));
        if owners.is_empty() {
            object["metadata"].as_object_mut().and_then(|metadata| metadata.remove("ownerReferences"));
        }
    });
}

/// Goes on with the end of an object. True if nothing is left to do here.
pub(super) fn end(state: &mut State, at: &ObjectRef) -> bool {
    let Some(object) = state.store.at(at) else { return true };
    let has = |name: &str| {
        object["metadata"]["finalizers"].as_array().is_some_and(|all| all.contains(&json!(name)))
    };
    if has(ORPHAN) {
        for dependent in state.store.dependents(uid_of(&object)) {
            release(state, &dependent, uid_of(&object));
        }
        drop_finalizer(state, at, ORPHAN);
        return false;
    }
    if has(FOREGROUND) {
        foreground(state, at, &object);
        return false;
    }
    for protection in PROTECTIONS {
        if has(protection) {
            // No model here uses volumes, so nothing protects them.
            drop_finalizer(state, at, protection);
            return false;
        }
    }
    if at.resource == Resource::new("", "namespaces") {
        return namespace(state, at);
    }
    if has(DEFINITION) {
        return definition(state, at, &object);
    }
    // Others hold it: their finalizers go by an update, which ends the object itself.
    true
}

fn foreground(state: &mut State, at: &ObjectRef, owner: &Value) {
    for dependent in state.store.dependents(uid_of(owner)) {
        let Some(object) = state.store.at(&dependent) else { continue };
        let owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        let others = owners.iter().filter(|other| other["uid"].as_str() != Some(uid_of(owner)));
        let stays =
            others.into_iter().any(|other| other["uid"].as_str().is_some_and(|uid| lives(state, uid)));
        if stays {
            release(state, &dependent, uid_of(owner));
            continue;
        }
        if object["metadata"]["deletionTimestamp"].is_null() {
            let deeper = !state.store.dependents(uid_of(&object)).is_empty();
            let propagation = if deeper { Propagation::Foreground } else { Propagation::Background };
            if let Some(target) = state.target_at(&dependent) {
                let wish = Deletion { propagation: Some(propagation), ..Deletion::default() };
                let _held_or_gone = state.delete(&target, &wish);
            }
        }
    }
    let waits = state.store.dependents(uid_of(owner)).iter().any(|dependent| {
        let object = state.store.at(dependent);
        let owners =
            object.as_ref().and_then(|object| object["metadata"]["ownerReferences"].as_array().cloned());
        owners
            .into_iter()
            .flatten()
            .any(|own| own["uid"].as_str() == Some(uid_of(owner)) && own["blockOwnerDeletion"] == json!(true))
    });
    if !waits {
        drop_finalizer(state, at, FOREGROUND);
    }
}

fn lives(state: &State, uid: &str) -> bool {
    let object = state.store.with_uid(uid).and_then(|at| state.store.at(at));
    object.is_some_and(|object| object["metadata"]["deletionTimestamp"].is_null())
}

fn drop_finalizer(state: &mut State, at: &ObjectRef, name: &str) {
    let Some(target) = state.target_at(at) else { return };
    state.edit(&target, |object| {
        let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() else { return };
        finalizers.retain(|known| known != name);
        if finalizers.is_empty() {
            object["metadata"].as_object_mut().and_then(|metadata| metadata.remove("finalizers"));
        }
    });
}

fn namespace(state: &mut State, at: &ObjectRef) -> bool {
    for object in state.store.in_namespace(&at.name.1) {
        delete(state, &object);
    }
    if !state.store.in_namespace(&at.name.1).is_empty() {
        return false;
    }
    if let Some(target) = state.target_at(at) {
        state.edit(&target, |object| {
            object["spec"].as_object_mut().and_then(|spec| spec.remove("finalizers"));
        });
    }
    true
}

fn definition(state: &mut State, at: &ObjectRef, object: &Value) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource =
        Resource { group: text(&object["spec"]["group"]), plural: text(&object["spec"]["names"]["plural"]) };
    let names: Vec<_> = state.store.all(&resource).map(|(name, _)| name.clone()).collect();
    for name in names {
        delete(state, &ObjectRef { resource: resource.clone(), name });
    }
    if state.store.all(&resource).next().is_some() {
        return false;
    }
    drop_finalizer(state, at, DEFINITION);
    true
}
