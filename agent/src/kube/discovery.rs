//! Which kinds the server serves, asked once per group and version and again when a kind is missed.

use super::Gvk;
use super::client::Caller;
use super::client::Reader;
use super::error::{ApiError, Kind, Secrecy};
use http::Request;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use taffrail_core::object::Key;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Shortest time between two questions about the same group and version: a new definition is served within it.
const MISS_PAUSE: Duration = Duration::from_millis(250);

/// How a served kind is addressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The kind.
    pub gvk: Gvk,
    /// Its name in addresses, such as `deployments`.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
}

/// The answer to "is this kind served".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// It is.
    Served(Served),
    /// It is not, by the server's own word.
    NotServed,
}

/// The cache. It holds names only, for the groups and versions that were asked for.
pub struct Discovery {
    caller: Caller,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    versions: BTreeMap<(String, String), Listed>,
    /// Versions of each group, the preferred one first.
    groups: Option<(Instant, BTreeMap<String, Vec<String>>)>,
}

struct Listed {
    at: Instant,
    kinds: BTreeMap<String, (String, bool)>,
}

impl Discovery {
    /// An empty cache that asks with the agent's own rights.
    pub fn new(reader: &Reader) -> Discovery {
        Discovery { caller: reader.0.clone(), known: Mutex::default() }
    }

    /// Whether a kind is served in this version.
    ///
    /// # Errors
    /// [`ApiError`] if the server does not say.
    pub async fn find(&self, gvk: &Gvk) -> Result<Serving, ApiError> {
        let mut known = self.known.lock().await;
        self.find_in(&mut known, gvk).await
    }

    /// Like [`Discovery::find`], with the kind not being served as an error.
    pub(super) async fn require(&self, action: &str, gvk: &Gvk) -> Result<Served, ApiError> {
        match self.find(gvk).await? {
            Serving::Served(served) => Ok(served),
            Serving::NotServed => Err(missing(action, gvk)),
        }
    }

    /// The kind of a key in a version in which it was found before, otherwise in the server's preferred one.
    pub(super) async fn require_any(&self, action: &str, key: &Key) -> Result<Served, ApiError> {
        let mut known = self.known.lock().await;
        let holds = |(version, listed): (&(String, String), &Listed)| {
            let (plural, namespaced) = listed.kinds.get(&key.kind).filter(|_| version.0 == key.group)?;
            let gvk = Gvk { group: key.group.clone(), version: version.1.clone(), kind: key.kind.clone() };
            Some(Served { gvk, plural: plural.clone(), namespaced: *namespaced })
        };
        if let Some(served) = known.versions.iter().find_map(holds) {
            return Ok(served);
        }
        for version in self.versions(&mut known, &key.group).await? {
            let gvk = Gvk { group: key.group.clone(), version, kind: key.kind.clone() };
            if let Serving::Served(served) = self.find_in(&mut known, &gvk).await? {
                return Ok(served);
            }
        }
        Err(missing(
            action,
            &Gvk { group: key.group.clone(), version: "*".to_owned(), kind: key.kind.clone() },
        ))
    }

    /// Forgets a group and version, because the server answered as if a kind in it were not served.
    pub(super) async fn forget(&self, gvk: &Gvk) {
        self.known.lock().await.versions.remove(&(gvk.group.clone(), gvk.version.clone()));
    }

    async fn find_in(&self, known: &mut Known, gvk: &Gvk) -> Result<Serving, ApiError> {
        let place = (gvk.group.clone(), gvk.version.clone());
        let ask = known
            .versions
            .get(&place)
            .is_none_or(|listed| !listed.kinds.contains_key(&gvk.kind) && listed.at.elapsed() >= MISS_PAUSE);
        if ask {
            let kinds = self.list(gvk).await?;
            known.versions.insert(place.clone(), Listed { at: Instant::now(), kinds });
        }
        let found = known.versions.get(&place).and_then(|listed| listed.kinds.get(&gvk.kind));
        Ok(found.map_or(Serving::NotServed, |(plural, namespaced)| {
            Serving::Served(Served { gvk: gvk.clone(), plural: plural.clone(), namespaced: *namespaced })
        }))
    }

    /// The kinds of a group and version; none if the server does not know it.
    async fn list(&self, gvk: &Gvk) -> Result<BTreeMap<String, (String, bool)>, ApiError> {
        let root = if gvk.group.is_empty() { "api".to_owned() } else { format!("apis/{}", gvk.group) };
        let action = format!("list the kinds of {}", gvk.api_version());
        let answer = match self.read(&action, &format!("/{root}/{}", gvk.version)).await {
            Err(error) if matches!(error.kind, Kind::MissingKind | Kind::NotFound) => {
                return Ok(BTreeMap::new());
            }
            answer => answer?,
        };
        let resources = answer.get("resources").and_then(Value::as_array);
        let Some(resources) = resources else {
            return Err(ApiError::new(action, Kind::Other, "the answer holds no list of resources"));
        };
        Ok(resources.iter().filter_map(entry).collect())
    }

    /// The versions of a group, preferred first; none if the server does not know the group.
    async fn versions(&self, known: &mut Known, group: &str) -> Result<Vec<String>, ApiError> {
        if group.is_empty() {
            return Ok(vec!["v1".to_owned()]);
        }
        let fresh = known
            .groups
            .as_ref()
            .filter(|(at, groups)| groups.contains_key(group) || at.elapsed() < MISS_PAUSE);
        if let Some((_, groups)) = fresh {
            return Ok(groups.get(group).cloned().unwrap_or_default());
        }
        let action = "list the groups of kinds";
        let answer = self.read(action, "/apis").await?;
        let Some(groups) = answer.get("groups").and_then(Value::as_array) else {
            return Err(ApiError::new(action, Kind::Other, "the answer holds no list of groups"));
        };
        let groups: BTreeMap<String, Vec<String>> = groups.iter().filter_map(versions_of).collect();
        let versions = groups.get(group).cloned().unwrap_or_default();
        known.groups = Some((Instant::now(), groups));
        Ok(versions)
    }

    async fn read(&self, action: &str, path: &str) -> Result<Value, ApiError> {
        let request = Request::get(path).body(Vec::new());
        let request = request.map_err(|error| ApiError::new(action, Kind::Invalid, error))?;
        Ok(self.caller.call(action, request, Secrecy::Open).await?.value)
    }
}

fn missing(action: &str, gvk: &Gvk) -> ApiError {
    let message = format!(
        "no matches for kind {:?} in version {:?}: is its definition missing?",
        gvk.kind,
        gvk.api_version()
    );
    ApiError::new(action, Kind::MissingKind, message)
}

/// A resource that is a kind of its own, not a subresource.
fn entry(resource: &Value) -> Option<(String, (String, bool))> {
    let text = |field: &str| resource.get(field).and_then(Value::as_str);
    let name = text("name").filter(|name| !name.contains('/'))?;
    let namespaced = resource.get("namespaced").and_then(Value::as_bool).unwrap_or_default();
    Some((text("kind")?.to_owned(), (name.to_owned(), namespaced)))
}

fn versions_of(group: &Value) -> Option<(String, Vec<String>)> {
    let preferred = group.pointer("/preferredVersion/version").and_then(Value::as_str);
    let listed = group.get("versions").and_then(Value::as_array).into_iter().flatten();
    let others = listed.filter_map(|version| version.get("version").and_then(Value::as_str));
    let mut versions: Vec<String> = preferred.into_iter().map(str::to_owned).collect();
    versions.extend(others.filter(|version| Some(*version) != preferred).map(str::to_owned));
    Some((group.get("name")?.as_str()?.to_owned(), versions))
}
