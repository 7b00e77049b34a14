//! A bundle's objects, with their namespaces filled in.

use super::Tools;
use crate::journal::Write;
use crate::kube::{Gvk, Objects as _, Serving};
use anyhow::Context as _;
use bytes::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use taffrail_core::catalog::object_rules::{self, Prune};
use taffrail_core::desired::Entry;
use taffrail_core::object::Key;
use taffrail_core::object::key::version_of;
use taffrail_core::sync::Object;
use taffrail_proto::sign::sha256;
use taffrail_proto::{bundle, seal};

/// Where objects go that name no namespace and whose app names none.
const DEFAULT_NAMESPACE: &str = "default";

/// Fetches the entry's bundle if the journal has it not, verifies it, and makes its objects ready.
pub(super) async fn load(tools: &Tools, entry: &Entry) -> anyhow::Result<Vec<Object>> {
    let packed = packed(tools, entry).await?;
    let digest = entry.digest;
    let values = tokio::task::spawn_blocking(move || bundle::decode(&packed, digest)).await??;
    let scopes = scopes(tools, &values).await?;
    let namespace =
        if entry.policy.namespace.is_empty() { DEFAULT_NAMESPACE } else { entry.policy.namespace.as_str() };
    values.into_iter().map(|value| object(value, &scopes, namespace)).collect()
}

async fn packed(tools: &Tools, entry: &Entry) -> anyhow::Result<Bytes> {
    if let Some(bytes) = tools.journal.bundle(&entry.digest)? {
        return Ok(bytes);
    }
    let key = tools.keys.lock().unwrap_or_else(PoisonError::into_inner).get(&entry.sealed).copied();
    let key = key.context("open the bundle: the index holds no key for it")?;
    let sealed = tools.bus.bundle(&entry.sealed).await?;
    let bytes: Bytes = seal::open_bundle(entry.sealed, &key, sealed.into())?.into();
    let kept = Write::PutBundle { digest: entry.digest, bytes: bytes.clone() };
    tools.journal.commit(vec![kept]).await?;
    Ok(bytes)
}

/// Whether the objects of a kind are in namespaces: as the cluster serves it, or as a definition in the bundle says.
async fn scopes(tools: &Tools, values: &[Value]) -> anyhow::Result<BTreeMap<Gvk, bool>> {
    let mut scopes = BTreeMap::new();
    for value in values {
        let gvk = Gvk::of(value).context("read the bundle: an object has no kind")?;
        if scopes.contains_key(&gvk) {
            continue;
        }
        let namespaced = match tools.api.kind_served(&gvk).await? {
            Serving::Served(served) => served.namespaced,
            Serving::NotServed => defined(values, &gvk),
        };
        scopes.insert(gvk, namespaced);
    }
    Ok(scopes)
}

fn defined(values: &[Value], gvk: &Gvk) -> bool {
    let text =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let definition = values.iter().find(|value| {
        text(value, "/kind").as_deref() == Some("CustomResourceDefinition")
            && text(value, "/spec/group").as_ref() == Some(&gvk.group)
            && text(value, "/spec/names/kind").as_ref() == Some(&gvk.kind)
    });
    definition.is_none_or(|definition| text(definition, "/spec/scope").as_deref() != Some("Cluster"))
}

fn object(mut value: Value, scopes: &BTreeMap<Gvk, bool>, namespace: &str) -> anyhow::Result<Object> {
    let content = sha256(value.to_string().as_bytes());
    let gvk = Gvk::of(&value).context("read the bundle: an object has no kind")?;
    let namespaced = scopes.get(&gvk).copied().unwrap_or(true);
    if let Some(metadata) = value.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        let named = metadata.get("namespace").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        if !namespaced {
            metadata.remove("namespace");
        } else if !named {
            metadata.insert("namespace".to_owned(), Value::from(namespace));
        }
    }
    let key = Key::of(&value).context("read the bundle: an object has no name")?;
    let keep = matches!(object_rules::judge(&value), Ok((Prune::Never, _)));
    let version = version_of(value.get("apiVersion").and_then(Value::as_str).unwrap_or_default()).to_owned();
    Ok(Object { key, version, value: Arc::new(value), content, keep })
}
