//! A bundle's objects, with their namespaces filled in.

use super::Tools;
use crate::journal::{Journal, Write};
use crate::kube::{Gvk, Objects as _, Serving};
use anyhow::Context as _;
use bytes::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use taffrail_core::catalog::object_rules::{self, Prune};
use taffrail_core::desired::Entry;
use taffrail_core::digest::Digest;
use taffrail_core::id::AppId;
use taffrail_core::object::Key;
use taffrail_core::sync::{Object, Recalled};
use taffrail_proto::sign::sha256;
use taffrail_proto::{bundle, seal};

/// Where objects go that name no namespace and whose app names none.
const DEFAULT_NAMESPACE: &str = "default";

/// Compression of a body in the journal: the fastest, because each body is packed alone and once.
const LEVEL: i32 = 1;

/// Longest body, in bytes: a bundle may consist of a single object.
#[expect(clippy::cast_possible_truncation, reason = "64 MiB fit into every usize")]
const BODY_BYTES_MAX: usize = bundle::CONTENT_BYTES_MAX as usize;

/// One object of a bundle, before its namespace is known.
struct Read {
    gvk: Gvk,
    key: Key,
    content: Digest,
    keep: bool,
    /// The kind that it defines, and whether that lies in namespaces.
    defines: Option<(String, String, bool)>,
}

/// Fetches the entry's bundle if the journal has it not, verifies it, and names its objects with their namespaces; with
/// `recall` also what the inventory in the cluster says.
pub(super) async fn load(
    tools: &Arc<Tools>,
    app: &AppId,
    entry: &Entry,
    recall: Option<&[Key]>,
) -> anyhow::Result<(Vec<Object>, Recalled)> {
    let (reading, digest) = (tools.clone(), entry.digest);
    let held = tokio::task::spawn_blocking(move || held(&*reading.journal, digest)).await??;
    let read = match held {
        Some(read) => read,
        None => fetch(tools, entry).await?,
    };
    let scopes = scopes(tools, &read).await?;
    let namespace =
        if entry.policy.namespace.is_empty() { DEFAULT_NAMESPACE } else { entry.policy.namespace.as_str() };
    let place = |Read { gvk, mut key, content, keep, .. }: Read| {
        if !scopes.get(&gvk).copied().unwrap_or(true) {
            key.namespace.clear();
        } else if key.namespace.is_empty() {
            namespace.clone_into(&mut key.namespace);
        }
        Object { key, version: gvk.version, content, keep }
    };
    let objects: Vec<Object> = read.into_iter().map(place).collect();
    let recalled = match recall {
        Some(left) => super::recall::recall(tools, app, left, &objects).await?,
        None => Recalled::default(),
    };
    Ok((objects, recalled))
}

/// The bundle as the journal has it; `None` if it is not there, or not whole.
fn held(journal: &dyn Journal, digest: Digest) -> anyhow::Result<Option<Vec<Read>>> {
    let Some(contents) = journal.bundle(&digest)? else { return Ok(None) };
    let mut objects = Vec::with_capacity(contents.len());
    for content in contents {
        let Some(body) = journal.body(&content)? else { return Ok(None) };
        objects.push(read(content, &parsed(&body)?)?);
    }
    Ok(Some(objects))
}

/// Fetches a bundle and keeps it object by object.
async fn fetch(tools: &Tools, entry: &Entry) -> anyhow::Result<Vec<Read>> {
    let key = tools.keys.lock().unwrap_or_else(PoisonError::into_inner).get(&entry.sealed).copied();
    let key = key.context("open the bundle: the index holds no key for it")?;
    let sealed = tools.bus.bundle(&entry.sealed).await?;
    let (digest, id) = (entry.digest, entry.sealed);
    let unpacked = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let opened = seal::open_bundle(id, &key, sealed.into())?;
        let mut packer = zstd::bulk::Compressor::new(LEVEL).context("pack the bundle's objects")?;
        let (mut objects, mut bodies) = (Vec::new(), Vec::new());
        bundle::unpack(&opened, digest, |line| -> anyhow::Result<()> {
            let content = sha256(line);
            objects.push(read(content, &serde_json::from_slice(line).context("read the bundle")?)?);
            // A copy: what the packer gives has room for the unpacked length, a thousand times over.
            let body = packer.compress(line).context("pack the bundle's objects")?;
            bodies.push((content, Bytes::copy_from_slice(&body)));
            Ok(())
        })?;
        Ok((objects, bodies))
    });
    let (objects, bodies) = unpacked.await??;
    tools.journal.commit(vec![Write::PutBundle { digest, bodies }]).await?;
    Ok(objects)
}

/// The object as Git says it, in its namespace.
pub(super) fn value(tools: &Tools, object: &Object) -> anyhow::Result<Value> {
    let body = tools.journal.body(&object.content)?.context("the journal does not hold the object")?;
    let mut value = parsed(&body)?;
    if let Some(metadata) = value.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        if object.key.namespace.is_empty() {
            metadata.remove("namespace");
        } else {
            metadata.insert("namespace".to_owned(), Value::from(object.key.namespace.as_str()));
        }
    }
    Ok(value)
}

fn parsed(body: &[u8]) -> anyhow::Result<Value> {
    let line = zstd::bulk::decompress(body, bound(body)?).context("unpack an object of the journal")?;
    serde_json::from_slice(&line).context("read an object of the journal")
}

/// Length of an unpacked body, as its frame says.
fn bound(body: &[u8]) -> anyhow::Result<usize> {
    let length = zstd::zstd_safe::get_frame_content_size(body).ok().flatten();
    let length = length.and_then(|length| usize::try_from(length).ok());
    length.filter(|length| *length <= BODY_BYTES_MAX).context("an object of the journal has no length")
}

/// Whether the objects of a kind are in namespaces: as the cluster serves it, or as a definition in the bundle says.
async fn scopes(tools: &Tools, objects: &[Read]) -> anyhow::Result<BTreeMap<Gvk, bool>> {
    let mut scopes = BTreeMap::new();
    for Read { gvk, .. } in objects {
        if scopes.contains_key(gvk) {
            continue;
        }
        let namespaced = match tools.api.kind_served(gvk).await? {
            Serving::Served(served) => served.namespaced,
            Serving::NotServed => defined(objects, gvk),
        };
        scopes.insert(gvk.clone(), namespaced);
    }
    Ok(scopes)
}

fn defined(objects: &[Read], gvk: &Gvk) -> bool {
    let defines = |(group, kind, _): &&(String, String, bool)| *group == gvk.group && *kind == gvk.kind;
    let definition = objects.iter().filter_map(|object| object.defines.as_ref()).find(defines);
    definition.is_none_or(|(_, _, namespaced)| *namespaced)
}

fn read(content: Digest, value: &Value) -> anyhow::Result<Read> {
    let gvk = Gvk::of(value).context("read the bundle: an object has no kind")?;
    let key = Key::of(value).context("read the bundle: an object has no name")?;
    let keep = matches!(object_rules::judge(value), Ok((Prune::Never, _)));
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let defines = (gvk.kind == "CustomResourceDefinition").then(|| {
        let (group, kind) = (text("/spec/group").to_owned(), text("/spec/names/kind").to_owned());
        (group, kind, text("/spec/scope") != "Cluster")
    });
    Ok(Read { gvk, key, content, keep, defines })
}
