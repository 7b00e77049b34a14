//! Applying, deleting and looking at single objects.

use super::{Tools, load};
use crate::kube::inventory;
use crate::kube::{
    ApiError, ApplyRequest, Conflicts, Decoration, Deleted as Outcome, Fingerprint as Print, Kind, Mode,
    Objects as _, Propagation, decorate,
};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use taffrail_core::health::{self, Cause, Judgement};
use taffrail_core::id::{AppId, CommitId};
use taffrail_core::object::owned::{self, Lost};
use taffrail_core::object::{Key, Owned};
use taffrail_core::sync::{Applied, Deleted, Fingerprint, Inspected, LostField, Object, Problem};
use taffrail_core::time::At;

/// An API error as the core sees it.
pub fn problem(error: &ApiError) -> Problem {
    let cause = match error.kind {
        Kind::AdmissionDenied => Some(Cause::AdmissionDenied),
        Kind::Quota => Some(Cause::QuotaExceeded),
        Kind::MissingKind => Some(Cause::MissingCrd),
        _ => None,
    };
    Problem { cause, message: error.message.clone() }
}

/// A watch's fingerprint as the core sees it. A version that is no number counts as newer than all.
pub fn fingerprint(print: &Print) -> Fingerprint {
    Fingerprint {
        uid: print.uid.to_string(),
        version: version(&print.resource_version),
        owned: print.owned,
        deleting: print.deleting,
    }
}

fn version(text: &str) -> u64 {
    text.parse().unwrap_or(u64::MAX)
}

/// Makes a namespace if it is missing. One that is there is left alone.
pub(super) async fn ensure_namespace(tools: &Tools, name: &str) -> Option<Problem> {
    let key =
        Key { group: String::new(), kind: "Namespace".into(), namespace: String::new(), name: name.into() };
    match tools.api.get(&key).await {
        Ok(Some(_)) => return None,
        Ok(None) => {}
        Err(error) => return Some(problem(&error)),
    }
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    let request = ApplyRequest { object, mode: Mode::Store, conflicts: Conflicts::Force, last: None };
    tools.api.apply(&request).await.err().map(|error| problem(&error))
}

/// Applies an object. With `look_first` the fields that were lost are named, and by whom they were taken.
pub(super) async fn apply(
    tools: &Tools,
    app: &AppId,
    object: &Object,
    commit: &CommitId,
    look_first: bool,
) -> Result<Applied, Problem> {
    let live =
        if look_first { tools.api.get(&object.key).await.map_err(|error| problem(&error))? } else { None };
    let conflicts = if look_first { Conflicts::Force } else { Conflicts::Name };
    let value = load::value(tools, object).map_err(|error| unread(&error))?;
    let judgement = not_looked_at(&value);
    let namespace = object.key.namespace.as_str();
    let object = decorate(value, &Decoration { app, commit, namespace, home: &tools.home });
    let request = ApplyRequest { object, mode: Mode::Store, conflicts, last: None };
    let applied = tools.api.apply(&request).await.map_err(|error| problem(&error))?;
    let taken = match &live {
        Some(live) => fields(owned::lost(&applied.owned, managed(live))),
        None => applied
            .displaced
            .iter()
            .flat_map(|from| from.paths.iter().map(|path| (path.clone(), from.manager.clone())))
            .map(|(path, manager)| LostField { path, manager })
            .collect(),
    };
    Ok(Applied {
        fingerprint: Fingerprint {
            uid: applied.uid,
            version: version(&applied.resource_version),
            owned: applied.owned.fingerprint(),
            deleting: applied.deleting,
        },
        judgement,
        taken,
        created: applied.created,
    })
}

fn unread(error: &anyhow::Error) -> Problem {
    Problem { cause: None, message: format!("{error:#}") }
}

/// An answer to an apply holds no status: kinds that are judged by it count as on their way until they are looked at.
fn not_looked_at(object: &Value) -> Judgement {
    let judged = health::judge(object, wall());
    if judged.counted { Judgement::new(health::Health::Progressing, "applied") } else { judged }
}

/// Deletes an object, if it still is the one that was applied. Its dependants go afterwards.
///
/// Without a uid its apply was never answered: then only an object that carries our mark is ours to delete.
pub(super) async fn delete(tools: &Tools, app: &AppId, key: &Key, uid: &str) -> Result<Deleted, Problem> {
    let mut uid = uid.to_owned();
    if uid.is_empty() {
        match marked(tools, app, key).await.map_err(|error| problem(&error))? {
            Some(found) => uid = self::uid(&found),
            None => return Ok(Deleted::Gone),
        }
    }
    match tools.api.delete(key, Some(&uid), Propagation::Background).await {
        Ok(Outcome::Gone | Outcome::Absent) => Ok(Deleted::Gone),
        Ok(Outcome::Pending { .. }) => Ok(Deleted::Pending),
        // Somebody made another object of this name: ours is gone, theirs is not ours to delete.
        Err(error) if error.kind == Kind::Conflict => Ok(Deleted::Gone),
        Err(error) => Err(problem(&error)),
    }
}

/// A live object that carries the mark of this app's inventory; `None` if it is absent or somebody else's.
pub(super) async fn marked(tools: &Tools, app: &AppId, key: &Key) -> Result<Option<Value>, ApiError> {
    let Some(live) = tools.api.get(key).await? else { return Ok(None) };
    let part_of = live.pointer("/metadata/labels").and_then(|labels| labels.get(inventory::PART_OF));
    let ours = part_of.and_then(Value::as_str) == Some(inventory::id(app, &tools.home).as_str());
    Ok(ours.then_some(live))
}

pub(super) fn uid(live: &Value) -> String {
    live.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Looks at an object: its health, with its pods' causes, and the fields that applying it would take back.
pub(super) async fn inspect(
    tools: &Tools,
    app: &AppId,
    key: &Key,
    pods: bool,
    against: Option<Object>,
) -> Inspected {
    match found(tools, app, key, pods, against).await {
        Ok(Some(found)) => found,
        Ok(None) => Inspected::Missing,
        Err(error) if error.kind == Kind::MissingKind => Inspected::NotServed(error.message),
        Err(error) => Inspected::Unreadable(error.message),
    }
}

async fn found(
    tools: &Tools,
    app: &AppId,
    key: &Key,
    pods: bool,
    against: Option<Object>,
) -> Result<Option<Inspected>, ApiError> {
    let Some(live) = tools.api.get(key).await? else { return Ok(None) };
    let mut judgement = health::judge(&live, wall());
    let well = matches!(judgement.health, health::Health::Healthy | health::Health::Suspended);
    if pods && !well {
        let pods = tools.api.pods_of(key).await?;
        if let Some((cause, message)) = health::cause_of_pods(&pods, wall()) {
            judgement.cause = Some(cause);
            judgement.message = message;
        }
    }
    let lost = match against {
        None => Vec::new(),
        Some(object) => would_take(tools, app, &object, &live).await?,
    };
    let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let fingerprint = Fingerprint {
        uid: text("/metadata/uid").to_owned(),
        version: version(text("/metadata/resourceVersion")),
        owned: Owned::of_object(&live).fingerprint(),
        deleting: !text("/metadata/deletionTimestamp").is_empty(),
    };
    Ok(Some(Inspected::Found { fingerprint, judgement, lost }))
}

async fn would_take(
    tools: &Tools,
    app: &AppId,
    object: &Object,
    live: &Value,
) -> Result<Vec<LostField>, ApiError> {
    let commit = live.pointer("/metadata/annotations").and_then(|all| all.get(crate::kube::labels::COMMIT));
    let commit = commit.and_then(Value::as_str).and_then(|text| CommitId::parse(text).ok());
    let namespace = object.key.namespace.as_str();
    let zero = CommitId::parse(&"0".repeat(40)).expect("forty zeros are an object id");
    let commit = commit.unwrap_or(zero);
    let decoration = Decoration { app, commit: &commit, namespace, home: &tools.home };
    let value = load::value(tools, object)
        .map_err(|error| ApiError::new("name the lost fields", Kind::Other, format!("{error:#}")))?;
    let object = decorate(value, &decoration);
    let request = ApplyRequest { object, mode: Mode::DryRun, conflicts: Conflicts::Force, last: None };
    let dry = tools.api.apply(&request).await?;
    Ok(fields(owned::lost(&dry.owned, managed(live))))
}

fn managed(live: &Value) -> &Value {
    live.pointer("/metadata/managedFields").unwrap_or(&Value::Null)
}

fn fields(lost: Vec<Lost>) -> Vec<LostField> {
    lost.into_iter()
        .map(|lost| LostField { path: lost.path, manager: lost.by.map(|by| by.manager).unwrap_or_default() })
        .collect()
}

fn wall() -> At {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    At(u64::try_from(wall).unwrap_or(u64::MAX))
}
