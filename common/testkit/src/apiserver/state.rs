//! The server's state and what every write shares: taking an object in, storing it, and what follows from it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use serde_json::{Value, json};

use super::fields::managers::{Managers, Reach, Typing};
use super::kinds::{Kind, Kinds, Resource};
use super::status::Status;
use super::store::{ObjectRef, Store, meta, uid_of};
use super::{defaults, prepare, validate, values};

/// What a request is about.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) kind: Arc<Kind>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
}

impl Target {
    pub(crate) fn at(&self) -> ObjectRef {
        ObjectRef { resource: self.kind.resource(), name: (self.namespace.clone(), self.name.clone()) }
    }

    pub(crate) fn typing<'a>(&'a self, api_version: &'a str) -> Typing<'a> {
        let reach = match (self.subresource.as_str(), self.kind.custom, self.kind.has_status) {
            ("", _, true) => Reach::AllBut("status"),
            ("status", true, _) => Reach::Only("status"),
            ("status", false, _) => Reach::AllBut("spec"),
            _ => Reach::Everything,
        };
        Typing { schema: &self.kind.schema, of: &self.kind.of, api_version, reach }
    }
}

/// How a write is meant.
#[derive(Clone, Debug)]
pub(crate) struct How {
    pub(crate) manager: String,
    pub(crate) dry_run: bool,
    /// Unknown fields are refused, not dropped.
    pub(crate) strict: bool,
    pub(crate) force: bool,
    pub(crate) now: String,
}

impl How {
    /// A write of one of the server's own controllers.
    pub(crate) fn controller(manager: &str) -> How {
        How { manager: manager.to_owned(), dry_run: false, strict: false, force: false, now: now() }
    }
}

/// Everything that the server knows.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) kinds: Kinds,
    serial: u64,
    random: RandomState,
}

impl State {
    /// A server with its first namespaces.
    pub(crate) fn new() -> State {
        let random = RandomState::new();
        let mut state = State { store: Store::default(), kinds: Kinds::built_in(), serial: 0, random };
        for resource in state.kinds.resources() {
            state.store.begin(&resource);
        }
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            if let Some(target) = state.target("v1", "Namespace", "", name) {
                let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
                let _made = state.create(&target, body, &How::controller("kube-apiserver"));
            }
        }
        state
    }

    /// An object by the names of its kind.
    pub(crate) fn target(
        &self,
        api_version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Target> {
        let kind = self.kinds.by_kind(api_version, kind)?;
        Some(Target {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: String::new(),
        })
    }

    /// The object that a reference in the store points to, in any version of its kind.
    pub(crate) fn target_at(&self, at: &ObjectRef) -> Option<Target> {
        let kind = self.kinds.any_version(&at.resource)?;
        let (namespace, name) = at.name.clone();
        Some(Target { kind, namespace, name, subresource: String::new() })
    }

    pub(crate) fn find(&self, target: &Target) -> Result<Arc<Value>, Status> {
        self.store.at(&target.at()).ok_or_else(|| Status::not_found(&target.kind, &target.name))
    }

    /// A number that no other object of this server has, and a random one.
    pub(crate) fn draw(&mut self) -> (u64, u64) {
        self.serial += 1;
        (self.serial, self.random.hash_one(self.serial))
    }

    /// Five characters as generated names end in.
    pub(crate) fn suffix(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let (_, mut random) = self.draw();
        let mut out = String::new();
        for _ in 0..5 {
            let at = usize::try_from(random % LETTERS.len() as u64).unwrap_or(0);
            out.push(char::from(LETTERS[at]));
            random /= LETTERS.len() as u64;
        }
        out
    }

    fn uid(&mut self) -> String {
        let ((_, high), (_, low)) = (self.draw(), self.draw());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | (low >> 48) & 0x3fff,
            low & 0xffff_ffff_ffff
        )
    }

    /// Reads a body: the right kind, place and name; unknown fields out, defaults in.
    pub(crate) fn accept(&mut self, target: &Target, mut body: Value, how: &How) -> Result<Value, Status> {
        self.place(target, &mut body)?;
        let (mut object, unknown) = values::normalise(&target.kind.schema, &target.kind.of, &body);
        if how.strict && !unknown.is_empty() {
            let fields: Vec<String> =
                unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
            let (kind, version) = (&target.kind.kind, &target.kind.version);
            return Err(Status::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
                fields.join(", ")
            )));
        }
        object["apiVersion"] = json!(target.kind.api_version());
        object["kind"] = json!(target.kind.kind);
        defaults::apply(&target.kind, &mut object);
        Ok(object)
    }

    /// Checks that a body belongs to its path, and fills in what the path says.
    pub(crate) fn place(&mut self, target: &Target, body: &mut Value) -> Result<(), Status> {
        let kind = &target.kind;
        if !body.is_object() {
            return Err(Status::bad_request("the request body is not an object"));
        }
        let (api_version, wanted) = (body["apiVersion"].as_str().unwrap_or_default(), kind.api_version());
        if !api_version.is_empty() && api_version != wanted {
            return Err(Status::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
            )));
        }
        let name = body["kind"].as_str().unwrap_or_default();
        if !name.is_empty() && name != kind.kind {
            return Err(Status::bad_request(format!(
                "{name} in version {:?} cannot be handled as a {}",
                kind.version, kind.kind
            )));
        }
        if !body["metadata"].is_object() {
            body["metadata"] = json!({});
        }
        let namespace = meta(body, "namespace");
        if !namespace.is_empty() && namespace != target.namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        if kind.namespaced {
            body["metadata"]["namespace"] = json!(target.namespace);
        }
        let name = meta(body, "name");
        if !target.name.is_empty() && !name.is_empty() && name != target.name {
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                target.name
            )));
        }
        if !target.name.is_empty() {
            body["metadata"]["name"] = json!(target.name);
        } else if name.is_empty() && !meta(body, "generateName").is_empty() {
            let suffix = self.suffix();
            body["metadata"]["name"] = json!(format!("{}{suffix}", meta(body, "generateName")));
        }
        Ok(())
    }

    /// Stores a new object; `managers` own its fields already.
    pub(crate) fn insert(
        &mut self,
        target: &Target,
        mut object: Value,
        managers: &Managers,
        how: &How,
    ) -> Result<Arc<Value>, Status> {
        let kind = Arc::clone(&target.kind);
        self.check_namespace(target, meta(&object, "name"))?;
        if !meta(&object, "resourceVersion").is_empty() {
            return Err(Status::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        let (serial, _) = self.draw();
        let uid = self.uid();
        let metadata = &mut object["metadata"];
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
            metadata.as_object_mut().and_then(|metadata| metadata.remove(field));
        }
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = json!(how.now);
        if kind.has_generation {
            metadata["generation"] = json!(1);
        }
        if kind.custom && kind.has_status {
            object.as_object_mut().and_then(|object| object.remove("status"));
        }
        prepare::created(&kind, &mut object, serial, &how.now);
        validate::created(&kind, &object)?;
        let target = Target { name: meta(&object, "name").to_owned(), ..target.clone() };
        if self.store.at(&target.at()).is_some() {
            return Err(Status::already_exists(&kind, &target.name));
        }
        managers.encode(&mut object);
        if how.dry_run {
            return Ok(Arc::new(object));
        }
        let stored = self.store.put(&target.at(), object);
        Ok(self.follow(&target, stored))
    }

    fn check_namespace(&self, target: &Target, name: &str) -> Result<(), Status> {
        if !target.kind.namespaced {
            return Ok(());
        }
        let found = self.store.get(&Resource::new("", "namespaces"), "", &target.namespace);
        let namespace = found.ok_or_else(|| Status::namespace_not_found(&target.namespace))?;
        if namespace["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        Err(Status::namespace_ends(&target.kind, name, &target.namespace))
    }

    /// Stores a changed object; `managers` say who owns what in it now. Nothing is written where nothing changed.
    pub(crate) fn replace(
        &mut self,
        target: &Target,
        live: &Arc<Value>,
        mut object: Value,
        managers: &Managers,
        how: &How,
    ) -> Result<Arc<Value>, Status> {
        validate::updated(&target.kind, live, &object)?;
        managers.encode(&mut object);
        if same(live, &object) && Managers::decode(live).same_but_time(managers) {
            return Ok(Arc::clone(live));
        }
        if target.kind.has_generation && content(&target.kind, live) != content(&target.kind, &object) {
            let generation = live["metadata"]["generation"].as_u64().unwrap_or(0);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        if how.dry_run {
            return Ok(Arc::new(object));
        }
        if is_released(&object) {
            self.remove(target);
            return Ok(Arc::new(object));
        }
        let stored = self.store.put(&target.at(), object);
        Ok(self.follow(target, stored))
    }

    /// Removes an object and what only lived by it.
    pub(crate) fn remove(&mut self, target: &Target) -> Option<Arc<Value>> {
        let removed = self.store.remove(&target.at())?;
        if target.kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            self.kinds.forget(&removed);
        }
        Some(removed)
    }

    /// What the server itself does after a write: a definition is served, and says so.
    fn follow(&mut self, target: &Target, stored: Arc<Value>) -> Arc<Value> {
        let definition = target.kind.is("apiextensions.k8s.io", "CustomResourceDefinition");
        if !definition || !target.subresource.is_empty() || !stored["metadata"]["deletionTimestamp"].is_null()
        {
            return stored;
        }
        self.kinds.define(&stored);
        let resource = Resource::new(
            stored["spec"]["group"].as_str().unwrap_or_default(),
            stored["spec"]["names"]["plural"].as_str().unwrap_or_default(),
        );
        self.store.begin(&resource);
        let how = How::controller("kube-apiserver");
        let mut object = (*stored).clone();
        prepare::definition(&mut object, &how.now);
        self.set_status(target, object, &how);
        stored
    }

    /// Writes the status of an object as a controller does.
    pub(crate) fn set_status(&mut self, target: &Target, object: Value, how: &How) {
        let target = Target { subresource: "status".to_owned(), ..target.clone() };
        if let Err(refusal) = self.update(&target, object, how) {
            tracing::debug!(object = target.name, refusal = refusal.message, "status not written");
        }
    }
}

/// The object without what changes with every write.
fn same(live: &Value, object: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            metadata.remove("resourceVersion");
        }
        object
    };
    bare(live) == bare(object)
}

/// What the generation counts: everything but metadata and status.
fn content<'a>(kind: &Kind, object: &'a Value) -> Vec<(&'a String, &'a Value)> {
    let counts = |name: &str| name != "metadata" && !(kind.has_status && name == "status");
    object.as_object().into_iter().flatten().filter(|(name, _)| counts(name)).collect()
}

/// Whether an object is being deleted and nothing holds it any more.
pub(crate) fn is_released(object: &Value) -> bool {
    let held = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    let namespace = object["kind"] == json!("Namespace") && held(&object["spec"]["finalizers"]);
    !object["metadata"]["deletionTimestamp"].is_null()
        && !held(&object["metadata"]["finalizers"])
        && !namespace
}

/// The time now as objects carry it: UTC, to the second.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An owner reference to a controller.
pub(crate) fn controlled_by(owner: &Value) -> Value {
    json!([{
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta(owner, "name"),
        "uid": uid_of(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    }])
}
