//! The reading verbs: get, list in pages, and the forms that objects are sent in.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::kinds::Kind;
use super::scale;
use super::select::Selector;
use super::state::{State, Target};
use super::status::Status;
use super::store::{Compacted, Name, meta};

/// The form in which objects are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    /// `PartialObjectMetadata`.
    Metadata,
}

/// What a list asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub(crate) selector: Selector,
    /// Objects per page; 0 is all.
    pub(crate) limit: usize,
    pub(crate) continues: String,
    pub(crate) resource_version: String,
    /// The state at exactly this version, not a newer one.
    pub(crate) exact: bool,
}

impl State {
    pub(crate) fn get(&self, target: &Target, form: Form) -> Result<Value, Status> {
        let live = self.find(target)?;
        if target.subresource == "scale" {
            return Ok(scale::of(&live));
        }
        Ok(send(&target.kind, &live, form))
    }

    pub(crate) fn list(&self, target: &Target, listing: &Listing, form: Form) -> Result<Value, Status> {
        let now = self.store.revision();
        let page = Page::start(target, listing, now)?;
        let resource = target.kind.resource();
        let snapshot = if page.revision == now {
            None
        } else {
            Some(self.store.snapshot(&resource, page.revision).map_err(|compacted| page.too_old(compacted))?)
        };
        let shows = |name: &Name, object: &Value| {
            (target.namespace.is_empty() || name.0 == target.namespace) && listing.selector.matches(object)
        };
        let current: BTreeMap<&Name, &Arc<Value>> = match &snapshot {
            Some(snapshot) => snapshot.iter().collect(),
            None => self.store.all(&resource).collect(),
        };
        let from = page.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest =
            current.range::<Name, _>((from, Bound::Unbounded)).filter(|(name, object)| shows(name, object));
        let most = if listing.limit == 0 { usize::MAX } else { listing.limit };
        let mut last = None;
        let mut items = Vec::new();
        for (name, object) in rest.by_ref().take(most) {
            last = Some((*name).clone());
            items.push(item(&target.kind, object, form));
        }
        let left = rest.count();
        let mut metadata = json!({"resourceVersion": page.revision.to_string()});
        if let Some(last) = last.filter(|_| left > 0) {
            metadata["continue"] = json!(token(page.revision, &last));
            if listing.selector.is_everything() {
                metadata["remainingItemCount"] = json!(left);
            }
        }
        let (api_version, kind) = match form {
            Form::Whole => (target.kind.api_version(), format!("{}List", target.kind.kind)),
            Form::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned()),
        };
        Ok(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "items": items}))
    }
}

/// Where a page begins and which state it shows.
struct Page {
    revision: u64,
    after: Option<Name>,
    continued: bool,
}

impl Page {
    fn start(target: &Target, listing: &Listing, now: u64) -> Result<Page, Status> {
        if !listing.continues.is_empty() {
            let (revision, after) = read_token(&listing.continues)
                .ok_or_else(|| Status::bad_request("invalid continue token: continue key is not valid"))?;
            return Ok(Page { revision, after: Some(after), continued: true });
        }
        let wanted = match listing.resource_version.as_str() {
            "" => 0,
            text => text.parse().map_err(|_| {
                Status::bad_request(format!(
                    "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
                ))
            })?,
        };
        if wanted > now {
            let mut status =
                Status::new(504, "Timeout", format!("Too large resource version: {wanted}, current: {now}"));
            status.retry_after = Some(1);
            status.detail("kind", json!(target.kind.plural));
            return Err(status);
        }
        let revision = if listing.exact && wanted > 0 { wanted } else { now };
        Ok(Page { revision, after: None, continued: false })
    }

    fn too_old(&self, compacted: Compacted) -> Status {
        if self.continued {
            return Status::expired(
                "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.",
            );
        }
        Status::expired(format!(
            "The resourceVersion for the provided list is too old: {} ({})",
            self.revision, compacted.floor
        ))
    }
}

fn token(revision: u64, last: &Name) -> String {
    let text =
        json!({"v": "meta.k8s.io/v1", "rv": revision, "start": last.1, "namespace": last.0}).to_string();
    URL_SAFE_NO_PAD.encode(text)
}

fn read_token(token: &str) -> Option<(u64, Name)> {
    let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok()?;
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    Some((value["rv"].as_u64()?, (text("namespace"), text("start"))))
}

/// An object as an answer of its own or in a watch.
pub(crate) fn send(kind: &Kind, object: &Value, form: Form) -> Value {
    match form {
        Form::Metadata => json!({
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": object["metadata"],
        }),
        Form::Whole => {
            let mut object = object.clone();
            // The one stored form serves all versions of a custom resource.
            object["apiVersion"] = json!(kind.api_version());
            object
        }
    }
}

/// An object as an item of a list.
fn item(kind: &Kind, object: &Value, form: Form) -> Value {
    let mut object = send(kind, object, form);
    // Lists of built-in kinds leave the type of their items out.
    if form == Form::Whole
        && !kind.custom
        && let Some(map) = object.as_object_mut()
    {
        map.remove("apiVersion");
        map.remove("kind");
    }
    object
}

/// The empty object that carries a bookmark's resourceVersion.
pub(crate) fn bookmark(kind: &Kind, revision: u64, form: Form, initial_end: bool) -> Value {
    let (api_version, name) = match form {
        Form::Whole => (kind.api_version(), kind.kind.as_str()),
        Form::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata"),
    };
    let mut object = json!({
        "kind": name,
        "apiVersion": api_version,
        "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null},
    });
    if initial_end {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    object
}

/// The resourceVersion of an object as a number; 0 if it has none.
pub(crate) fn version_of(object: &Value) -> u64 {
    meta(object, "resourceVersion").parse().unwrap_or(0)
}
