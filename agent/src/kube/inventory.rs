//! The inventory of each app, kept in the cluster in the `ApplySet` convention (KEP-3659), and its exact members beside it.
//!
//! The parent is a Secret in the agent's namespace. Any tool that knows the convention finds the members by the label
//! [`PART_OF`]; Taffrail itself reads the list, because a list of names needs no search over kinds.

use super::client::Reader;
use super::error::{ApiError, Kind};
use super::labels::{label, long_digest, short_digest};
use super::secret::{Expect, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use taffrail_core::id::AppId;
use taffrail_core::object::Key;

/// Label of every member: the id of its `ApplySet`.
pub const PART_OF: &str = "applyset.kubernetes.io/part-of";
/// Label of the parent: the id itself.
const ID: &str = "applyset.kubernetes.io/id";
/// Annotations of the parent.
const TOOLING: &str = "applyset.kubernetes.io/tooling";
const GROUP_KINDS: &str = "applyset.kubernetes.io/contains-group-kinds";
const NAMESPACES: &str = "applyset.kubernetes.io/additional-namespaces";
/// Key of the parent's data that holds the members, one a line: group, kind, namespace, name, with tabs between.
const MEMBERS: &str = "members";
/// The same, packed with zstd, where the list is longer than [`PLAIN_BYTES_MAX`].
const PACKED: &str = "members.zst";
/// Longest list that is kept as text, in bytes: a Secret holds 700 KiB, and people like to read.
const PLAIN_BYTES_MAX: usize = 256 << 10;
/// Longest list that is read back: ten thousand objects with the longest names there can be.
const LIST_BYTES_MAX: usize = 8 << 20;
/// Attempts to write against another writer; there is none but an agent that is being replaced.
const ATTEMPTS: usize = 3;

/// Name of an app's parent Secret: its name for people, a digest of source and name to keep apps apart.
pub fn parent(app: &AppId) -> String {
    let readable = label(app.name.as_str());
    format!("taffrail-inventory-{}-{}", readable.trim_end_matches(['.', '-']), short_digest(&app.to_string()))
}

/// The id of an app's `ApplySet`: a digest of its parent's name, namespace, kind and group, as the convention has it.
pub fn id(app: &AppId, namespace: &str) -> String {
    format!("applyset-{}-v1", long_digest(&format!("{}.{namespace}.Secret.", parent(app))))
}

/// The inventories of all apps, written with the agent's own rights.
pub struct Inventories {
    store: Store,
    /// What each inventory is known to hold: as it was read or written last; `None` if there was none.
    known: Mutex<BTreeMap<AppId, Option<Data>>>,
}

/// A digest of an inventory's data.
type Data = u64;

/// How a write of an inventory ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It holds what was asked for.
    Done,
    /// It is as it was found, which is not as it was read or written last: the cluster may have been restored from a
    /// backup, and it may name members that nobody remembers. It is to be read first.
    Changed,
}

impl Inventories {
    /// In this namespace, usually `taffrail-system`.
    pub fn new(reader: &Reader, namespace: &str) -> Inventories {
        Inventories { store: Store::new(reader, namespace), known: Mutex::default() }
    }

    /// Where they are.
    pub fn namespace(&self) -> &str {
        self.store.namespace()
    }

    /// The members of an app; `None` if it has no inventory.
    ///
    /// # Errors
    /// [`ApiError`] if it could not be read or makes no sense.
    pub async fn read(&self, app: &AppId) -> Result<Option<BTreeSet<Key>>, ApiError> {
        let found = self.store.get(&parent(app)).await?;
        self.know(app, found.as_ref().map(|stored| digest(&stored.data)));
        let Some(stored) = found else { return Ok(None) };
        let action = format!("read the inventory of {app}");
        listed(&stored.data)
            .map(Some)
            .ok_or_else(|| ApiError::new(action, Kind::Other, "its list of members makes no sense"))
    }

    /// Makes these the members of an app. To be done before the first apply of what is new, and after the last prune
    /// of what is old: between the two the inventory holds both.
    ///
    /// # Errors
    /// [`ApiError`]; the inventory is then as before, or as asked for.
    pub async fn write(&self, app: &AppId, members: &BTreeSet<Key>) -> Result<Written, ApiError> {
        let name = parent(app);
        let meta = meta(app, self.namespace(), members);
        let data = data(members).map_err(|error| {
            ApiError::new(format!("pack the inventory of {app}"), Kind::Other, error.to_string())
        })?;
        for attempt in 1.. {
            let found = self.store.get(&name).await?;
            if found.as_ref().is_some_and(|stored| stored.data == data) {
                break;
            }
            let is = found.as_ref().map(|stored| digest(&stored.data));
            if self.lock().get(app).is_some_and(|known| *known != is) {
                return Ok(Written::Changed);
            }
            // Until the answer is here nobody knows which one it is.
            self.lock().remove(app);
            let expect = found.map_or(Expect::Absent, |stored| Expect::Version(stored.version));
            match self.store.put_with(&name, &data, &expect, &meta).await {
                Err(error) if error.kind == Kind::Conflict && attempt < ATTEMPTS => self.know(app, is),
                written => {
                    written?;
                    break;
                }
            }
        }
        self.know(app, Some(digest(&data)));
        Ok(Written::Done)
    }

    /// Forgets an app whose members are gone or were let go.
    ///
    /// # Errors
    /// [`ApiError`] if it may still be there.
    pub async fn remove(&self, app: &AppId) -> Result<(), ApiError> {
        self.lock().remove(app);
        self.store.remove(&parent(app)).await
    }

    fn know(&self, app: &AppId, data: Option<Data>) {
        self.lock().insert(app.clone(), data);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppId, Option<Data>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only compared within one process.
fn digest(data: &BTreeMap<String, Vec<u8>>) -> Data {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    hasher.finish()
}

/// Labels and annotations of the parent.
fn meta(app: &AppId, home: &str, members: &BTreeSet<Key>) -> serde_json::Value {
    let kinds: BTreeSet<String> = members
        .iter()
        .map(
            |key| if key.group.is_empty() { key.kind.clone() } else { format!("{}.{}", key.kind, key.group) },
        )
        .collect();
    let namespaces: BTreeSet<&str> = members
        .iter()
        .map(|key| key.namespace.as_str())
        .filter(|namespace| !namespace.is_empty() && *namespace != home)
        .collect();
    let joined = |set: Vec<&str>| set.join(",");
    serde_json::json!({
        // The app's own label is left out: by it objects are watched, and the parent is none of them.
        "labels": {ID: id(app, home)},
        "annotations": {
            super::labels::APP: app.to_string(),
            TOOLING: concat!("taffrail/v", env!("CARGO_PKG_VERSION")),
            GROUP_KINDS: joined(kinds.iter().map(String::as_str).collect()),
            NAMESPACES: joined(namespaces.into_iter().collect()),
        },
    })
}

/// The list as the parent's data.
fn data(members: &BTreeSet<Key>) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let text = lines(members).into_bytes();
    let pair = if text.len() <= PLAIN_BYTES_MAX {
        (MEMBERS.to_owned(), text)
    } else {
        (PACKED.to_owned(), zstd::bulk::compress(&text, zstd::DEFAULT_COMPRESSION_LEVEL)?)
    };
    Ok([pair].into())
}

fn listed(data: &BTreeMap<String, Vec<u8>>) -> Option<BTreeSet<Key>> {
    match data.get(PACKED) {
        Some(packed) => parse(&zstd::bulk::decompress(packed, LIST_BYTES_MAX).ok()?),
        None => parse(data.get(MEMBERS).map(Vec::as_slice).unwrap_or_default()),
    }
}

fn lines(members: &BTreeSet<Key>) -> String {
    let line = |key: &Key| format!("{}\t{}\t{}\t{}\n", key.group, key.kind, key.namespace, key.name);
    members.iter().map(line).collect()
}

fn parse(bytes: &[u8]) -> Option<BTreeSet<Key>> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.lines()
        .map(|line| {
            let parts: Vec<&str> = line.split('\t').collect();
            let [group, kind, namespace, name] = parts[..] else { return None };
            let owned = |text: &str| text.to_owned();
            let key = Key {
                group: owned(group),
                kind: owned(kind),
                namespace: owned(namespace),
                name: owned(name),
            };
            (!kind.is_empty() && !name.is_empty()).then_some(key)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(text: &str) -> AppId {
        AppId::parse(text).unwrap()
    }

    fn members() -> BTreeSet<Key> {
        let key = |group: &str, kind: &str, namespace: &str, name: &str| Key {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        [
            key("apps", "Deployment", "web", "payments"),
            key("", "Namespace", "", "web"),
            key("", "Secret", "taffrail-system", "it"),
            key("apps", "Deployment", "api", "payments"),
        ]
        .into()
    }

    #[test]
    fn the_parent_says_what_the_convention_asks_for() {
        let meta = meta(&app("shop/payments"), "taffrail-system", &members());
        let annotations = &meta["annotations"];
        assert_eq!(annotations[GROUP_KINDS], "Deployment.apps,Namespace,Secret");
        assert_eq!(annotations[NAMESPACES], "api,web");
        assert!(annotations[TOOLING].as_str().unwrap().starts_with("taffrail/v"));
        let id = meta["labels"][ID].as_str().unwrap();
        assert!(id.starts_with("applyset-") && id.ends_with("-v1") && id.len() == 55, "{id}");
    }

    #[test]
    fn apps_of_the_same_name_in_two_sources_have_two_inventories() {
        assert_ne!(parent(&app("shop/payments")), parent(&app("bank/payments")));
        let long = app(&format!("shop/{}", "a.".repeat(100) + "a"));
        assert!(parent(&long).len() < 253);
    }

    #[test]
    fn ten_thousand_members_fit_into_a_secret_and_are_read_back() {
        let key = |number: u32| Key {
            group: "networking.k8s.io".to_owned(),
            kind: "NetworkPolicy".to_owned(),
            namespace: format!("{:063}", number / 7),
            name: format!("{number:0>100}"),
        };
        let many: BTreeSet<Key> = (0..10_000).map(key).collect();
        let data = data(&many).unwrap();
        let size: usize = data.values().map(Vec::len).sum();
        assert!(size < 512 << 10, "{size}");
        assert_eq!(listed(&data), Some(many));
    }

    #[test]
    fn members_are_read_back_and_nonsense_is_not_empty() {
        assert_eq!(parse(lines(&members()).as_bytes()), Some(members()));
        assert_eq!(parse(b""), Some(BTreeSet::new()));
        for nonsense in [&b"apps\tDeployment\tweb\n"[..], b"\t\t\t\n", b"\xff", b"\n"] {
            assert_eq!(parse(nonsense), None);
        }
    }
}
