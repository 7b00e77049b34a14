//! The port on a real API server, or on anything that speaks its protocol.

use super::address::{self, APPLY, JSON, METADATA};
use super::client::{Caller, Clients};
use super::discovery::{Discovery, Served, Serving};
use super::error::{ApiError, Kind};
use super::{Applied, ApplyRequest, Conflicts, Deleted, Displaced, Gvk, Mode, Objects, Propagation, pods};
use async_trait::async_trait;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use taffrail_core::object::owned::MANAGER;
use taffrail_core::object::{Key, Owned};

/// Both identities and what the server serves.
#[derive(Clone)]
pub struct Api {
    clients: Clients,
    discovery: Arc<Discovery>,
}

impl Api {
    /// Over these clients, with an empty cache of kinds.
    pub fn new(clients: Clients) -> Api {
        let discovery = Arc::new(Discovery::new(&clients.reader));
        Api { clients, discovery }
    }

    /// Both identities.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The cache of kinds, to be shared with the watches.
    pub fn discovery(&self) -> &Arc<Discovery> {
        &self.discovery
    }

    /// Who reads people's objects: whoever wrote them, so that the agent itself needs no right to them.
    fn reads(&self) -> &Caller {
        &self.clients.applier.0
    }

    /// One apply as it goes over the wire, forced or not.
    async fn send(&self, call: &Call<'_>, force: bool) -> Result<Answered, ApiError> {
        let dry_run = if call.request.mode == Mode::DryRun { "&dryRun=All" } else { "" };
        let address = format!("{}?fieldManager={MANAGER}&force={force}{dry_run}", call.address);
        let body = call.request.object.to_string().into_bytes();
        let request = address::request(call.action, Method::PATCH, &address, (METADATA, APPLY), body)?;
        let secrecy = address::secrecy(call.key);
        let answer = self.clients.applier.0.call(call.action, request, secrecy).await?;
        Ok(Answered { created: answer.code == StatusCode::CREATED, object: answer.value })
    }

    /// After an answer as if the kind were not served, the cache is wrong.
    async fn doubt(&self, gvk: &Gvk, error: ApiError) -> ApiError {
        if error.kind == Kind::MissingKind {
            self.discovery.forget(gvk).await;
        }
        error
    }

    pub(super) async fn read(&self, served: &Served, key: &Key) -> Result<Option<Value>, ApiError> {
        let action = format!("read {key}");
        let address = address::of_object(&action, served, key)?;
        let request = address::request(&action, Method::GET, &address, (JSON, JSON), Vec::new())?;
        match self.reads().call(&action, request, address::secrecy(key)).await {
            Ok(answer) => Ok(Some(answer.value)),
            Err(error) if is_absence(&error, key) => Ok(None),
            Err(error) => Err(self.doubt(&served.gvk, error).await),
        }
    }

    /// A page of a list.
    pub(super) async fn list(&self, gvk: &Gvk, namespace: &str, query: &str) -> Result<Value, ApiError> {
        let action = format!("list {gvk} in {namespace:?}");
        let served = self.discovery.require(&action, gvk).await?;
        let address = format!("{}?{query}", address::of_list(&served, namespace));
        let request = address::request(&action, Method::GET, &address, (JSON, JSON), Vec::new())?;
        let answer = self.reads().call(&action, request, super::error::Secrecy::Open).await?;
        Ok(answer.value)
    }
}

/// One apply: who, where, what.
struct Call<'a> {
    action: &'a str,
    key: &'a Key,
    address: &'a str,
    request: &'a ApplyRequest,
}

struct Answered {
    created: bool,
    object: Value,
}

#[async_trait]
impl Objects for Api {
    async fn apply(&self, request: &ApplyRequest) -> Result<Applied, ApiError> {
        let nameless = || {
            ApiError::new("apply an object", Kind::Invalid, "apiVersion, kind or metadata.name is missing")
        };
        let key = Key::of(&request.object).ok_or_else(nameless)?;
        let gvk = Gvk::of(&request.object).ok_or_else(nameless)?;
        let action = match request.mode {
            Mode::Store => format!("apply {key}"),
            Mode::DryRun => format!("dry-run {key}"),
        };
        let served = self.discovery.require(&action, &gvk).await?;
        let address = address::of_object(&action, &served, &key)?;
        let call = Call { action: &action, key: &key, address: &address, request };
        let mut displaced = Vec::new();
        let first = self.send(&call, request.conflicts == Conflicts::Force).await;
        let answered = match first {
            Err(error) if error.kind == Kind::Conflict && request.conflicts == Conflicts::Name => {
                displaced = owners(&error);
                self.send(&call, true).await
            }
            answered => answered,
        };
        match answered {
            Ok(answered) => applied(&action, key, &answered, displaced, request.last.as_deref()),
            Err(error) => Err(self.doubt(&gvk, error).await),
        }
    }

    async fn delete(
        &self,
        key: &Key,
        uid: Option<&str>,
        propagation: Propagation,
    ) -> Result<Deleted, ApiError> {
        let action = format!("delete {key}");
        let served = self.discovery.require_any(&action, key).await?;
        let address = address::of_object(&action, &served, key)?;
        let mut options =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy(propagation)});
        if let Some(uid) = uid {
            options["preconditions"] = json!({"uid": uid});
        }
        let body = options.to_string().into_bytes();
        for attempt in 1.. {
            let request = address::request(&action, Method::DELETE, &address, (JSON, JSON), body.clone())?;
            match self.clients.applier.0.call(&action, request, address::secrecy(key)).await {
                Ok(answer) => return Ok(deleted(&answer.value)),
                Err(error) if is_absence(&error, key) => return Ok(Deleted::Absent),
                Err(error) if error.kind == Kind::Conflict && attempt < DELETIONS_MAX => {
                    // A server also answers so when a controller wrote the object just then; only another uid is an answer.
                    let live = self.read(&served, key).await?;
                    let now = live.as_ref().and_then(|live| live.pointer("/metadata/uid")?.as_str());
                    if uid.is_some() && now != uid {
                        return Err(error);
                    }
                }
                Err(error) => return Err(self.doubt(&served.gvk, error).await),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn get(&self, key: &Key) -> Result<Option<Value>, ApiError> {
        let served = self.discovery.require_any(&format!("read {key}"), key).await?;
        self.read(&served, key).await
    }

    async fn pods_of(&self, workload: &Key) -> Result<Vec<Value>, ApiError> {
        pods::of(self, workload).await
    }

    async fn kind_served(&self, gvk: &Gvk) -> Result<Serving, ApiError> {
        self.discovery.find(gvk).await
    }
}

fn policy(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Background => "Background",
        Propagation::Foreground => "Foreground",
        Propagation::Orphan => "Orphan",
    }
}

/// Whether the server says that this very object is not there. A namespace that is asked for by name is an object too.
fn is_absence(error: &ApiError, key: &Key) -> bool {
    let is_namespace = key.group.is_empty() && key.kind == "Namespace";
    error.kind == Kind::NotFound || error.kind == Kind::NamespaceMissing && is_namespace
}

/// The managers in a conflict of ownership, with their fields.
fn owners(error: &ApiError) -> Vec<Displaced> {
    let mut managers = BTreeMap::<&str, Vec<String>>::new();
    for field in &error.fields {
        if let Some(manager) = &field.manager {
            managers.entry(manager).or_default().push(field.path.clone());
        }
    }
    let displaced = managers.into_iter().map(|(manager, mut paths)| {
        paths.sort_unstable();
        paths.dedup();
        Displaced { manager: manager.to_owned(), paths }
    });
    displaced.collect()
}

fn applied(
    action: &str,
    key: Key,
    answered: &Answered,
    displaced: Vec<Displaced>,
    last: Option<&str>,
) -> Result<Applied, ApiError> {
    let text = |pointer: &str| answered.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if text("/metadata/name") != key.name {
        return Err(ApiError::new(action, Kind::Other, "the answer is about another object"));
    }
    let resource_version = text("/metadata/resourceVersion").to_owned();
    let generation = answered.object.pointer("/metadata/generation").and_then(Value::as_i64);
    Ok(Applied {
        key,
        uid: text("/metadata/uid").to_owned(),
        generation: generation.unwrap_or_default(),
        owned: Owned::of_object(&answered.object),
        displaced,
        created: answered.created,
        deleting: !text("/metadata/deletionTimestamp").is_empty(),
        changed: answered.created || last != Some(resource_version.as_str()),
        resource_version,
    })
}

/// What the answer to a deletion says: a `Status` if the object is gone, the object if it waits.
/// How often a deletion is tried that meets another writer.
const DELETIONS_MAX: u32 = 4;

fn deleted(answer: &Value) -> Deleted {
    if answer.get("kind").and_then(Value::as_str) == Some("Status") {
        return Deleted::Gone;
    }
    if answer.pointer("/metadata/deletionTimestamp").is_none_or(Value::is_null) {
        return Deleted::Gone;
    }
    let finalizers = answer.pointer("/metadata/finalizers").and_then(Value::as_array).into_iter().flatten();
    Deleted::Pending { finalizers: finalizers.filter_map(Value::as_str).map(str::to_owned).collect() }
}
