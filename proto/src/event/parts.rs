//! Pieces that several kinds share.

use crate::error::{Error, digest, field, there};
use crate::v1;
use std::collections::BTreeSet;
use taffrail_core::catalog::{Declared, Destination, Listing, MaxDeletes, Render, Root, SyncPolicy};
use taffrail_core::desired::{Change, Entry, Mark, Policy, Withdrawal};
use taffrail_core::id::{AppId, AppName, ClusterName, CommitId};
use taffrail_core::object::Key;
use taffrail_core::planner::{Part, Variant};
use taffrail_core::selector::{Operator, Requirement, Selector};
use taffrail_core::source::Track;

pub(crate) fn track(track: &Track) -> v1::Track {
    v1::Track { url: track.url.clone(), revision: track.revision.clone() }
}

pub(crate) fn read_track(track: Option<v1::Track>) -> Result<Track, Error> {
    let track = there("Track", "track", track)?;
    Ok(Track { url: track.url, revision: track.revision })
}

/// A mark as its message.
pub fn mark(mark: Mark) -> v1::Mark {
    v1::Mark { epoch: mark.epoch, generation: mark.generation }
}

/// Reads a mark; an absent one is zero.
pub fn read_mark(mark: Option<v1::Mark>) -> Mark {
    mark.map(|mark| Mark { epoch: mark.epoch, generation: mark.generation }).unwrap_or_default()
}

/// A key as its message.
pub fn key(key: &Key) -> v1::ObjectKey {
    v1::ObjectKey {
        group: key.group.clone(),
        kind: key.kind.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

/// Reads a key.
///
/// # Errors
/// [`Error`] if it is absent.
pub fn read_key(key: Option<v1::ObjectKey>) -> Result<Key, Error> {
    let key = there("ObjectKey", "object", key)?;
    Ok(Key { group: key.group, kind: key.kind, namespace: key.namespace, name: key.name })
}

pub(crate) fn read_keys(keys: Vec<v1::ObjectKey>) -> Result<Vec<Key>, Error> {
    keys.into_iter().map(|key| read_key(Some(key))).collect()
}

fn render(render: Render) -> String {
    let name = match render {
        Render::Auto => "auto",
        Render::Kustomize => "kustomize",
        Render::Directory { recurse: false } => "directory",
        Render::Directory { recurse: true } => "directory-recurse",
    };
    name.to_owned()
}

fn read_render(name: &str) -> Result<Render, Error> {
    match name {
        "auto" => Ok(Render::Auto),
        "kustomize" => Ok(Render::Kustomize),
        "directory" => Ok(Render::Directory { recurse: false }),
        "directory-recurse" => Ok(Render::Directory { recurse: true }),
        other => Err(field("Variant", "render", other)),
    }
}

pub(crate) fn variant(variant: &Variant) -> v1::Variant {
    v1::Variant {
        track: Some(track(&variant.track)),
        path: variant.path.clone(),
        render: render(variant.render),
        rest: variant.part == Part::Rest,
    }
}

pub(crate) fn read_variant(variant: Option<v1::Variant>) -> Result<Variant, Error> {
    let variant = there("Variant", "variant", variant)?;
    Ok(Variant {
        track: read_track(variant.track)?,
        path: variant.path,
        render: read_render(&variant.render)?,
        part: if variant.rest { Part::Rest } else { Part::All },
    })
}

pub(crate) fn root(root: &Root) -> v1::Root {
    match root {
        Root::Cluster(name) => v1::Root { cluster: name.to_string() },
        Root::Directory => v1::Root::default(),
    }
}

pub(crate) fn read_root(root: Option<v1::Root>) -> Result<Root, Error> {
    let cluster = root.unwrap_or_default().cluster;
    if cluster.is_empty() { Ok(Root::Directory) } else { Ok(Root::Cluster(ClusterName::parse(&cluster)?)) }
}

fn max_deletes(limit: MaxDeletes) -> v1::MaxDeletes {
    use v1::max_deletes::Limit;
    let limit = match limit {
        MaxDeletes::Percent(percent) => Limit::Percent(percent.into()),
        MaxDeletes::Count(count) => Limit::Count(count),
    };
    v1::MaxDeletes { limit: Some(limit) }
}

fn read_max_deletes(limit: Option<v1::MaxDeletes>) -> Result<Option<MaxDeletes>, Error> {
    use v1::max_deletes::Limit;
    match limit.and_then(|limit| limit.limit) {
        None => Ok(None),
        Some(Limit::Count(count)) => Ok(Some(MaxDeletes::Count(count))),
        Some(Limit::Percent(percent)) => {
            let percent = u8::try_from(percent).map_err(|_| field("MaxDeletes", "percent", percent))?;
            Ok(Some(MaxDeletes::Percent(percent)))
        }
    }
}

fn selector(selector: &Selector) -> v1::Selector {
    let requirements = selector.requirements().iter().map(|requirement| {
        let (operator, values) = match &requirement.operator {
            Operator::In(values) => ("In", values.iter().cloned().collect()),
            Operator::NotIn(values) => ("NotIn", values.iter().cloned().collect()),
            Operator::Exists => ("Exists", Vec::new()),
            Operator::DoesNotExist => ("DoesNotExist", Vec::new()),
        };
        v1::Requirement { key: requirement.key.clone(), operator: operator.to_owned(), values }
    });
    v1::Selector { requirements: requirements.collect() }
}

fn read_selector(selector: v1::Selector) -> Result<Selector, Error> {
    let requirements = selector.requirements.into_iter().map(|requirement| {
        let values: BTreeSet<String> = requirement.values.into_iter().collect();
        let operator = match requirement.operator.as_str() {
            "In" => Operator::In(values),
            "NotIn" => Operator::NotIn(values),
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => return Err(field("Requirement", "operator", other)),
        };
        Ok(Requirement { key: requirement.key, operator })
    });
    Ok(Selector::new(requirements.collect::<Result<_, Error>>()?))
}

fn declared(app: &Declared) -> v1::Declared {
    let (cluster, picked) = match &app.destination {
        Destination::Here => (String::new(), None),
        Destination::Cluster(name) => (name.to_string(), None),
        Destination::Selector(labels) => (String::new(), Some(selector(labels))),
    };
    v1::Declared {
        name: app.name.to_string(),
        repo_url: app.repo_url.clone(),
        path: app.path.clone(),
        target_revision: app.target_revision.clone(),
        render: render(app.render),
        cluster,
        selector: picked,
        namespace: app.namespace.clone(),
        sync: Some(v1::SyncPolicy {
            automated: app.sync.automated,
            prune: app.sync.prune,
            self_heal: app.sync.self_heal,
            allow_empty: app.sync.allow_empty,
            create_namespace: app.sync.create_namespace,
        }),
        max_deletes: app.max_deletes.map(max_deletes),
    }
}

fn read_declared(app: v1::Declared) -> Result<Declared, Error> {
    let sync = app.sync.unwrap_or_default();
    let destination = match app.selector {
        Some(labels) => Destination::Selector(read_selector(labels)?),
        None if app.cluster.is_empty() => Destination::Here,
        None => Destination::Cluster(ClusterName::parse(&app.cluster)?),
    };
    Ok(Declared {
        name: AppName::parse(&app.name)?,
        repo_url: app.repo_url,
        path: app.path,
        target_revision: app.target_revision,
        render: read_render(&app.render)?,
        destination,
        namespace: app.namespace,
        sync: SyncPolicy {
            automated: sync.automated,
            prune: sync.prune,
            self_heal: sync.self_heal,
            allow_empty: sync.allow_empty,
            create_namespace: sync.create_namespace,
        },
        max_deletes: read_max_deletes(app.max_deletes)?,
    })
}

pub(crate) fn listing(listing: &Listing) -> v1::Listing {
    v1::Listing {
        apps: listing.apps.iter().map(declared).collect(),
        rest: listing.rest,
        notes: listing.notes.clone(),
    }
}

pub(crate) fn read_listing(listing: v1::Listing) -> Result<Listing, Error> {
    let apps = listing.apps.into_iter().map(read_declared).collect::<Result<_, _>>()?;
    Ok(Listing { apps, rest: listing.rest, notes: listing.notes })
}

/// An index entry as its message.
pub fn entry(entry: &Entry) -> v1::Entry {
    let withdrawn = match entry.withdrawn {
        None => "",
        Some(Withdrawal::Cascade) => "cascade",
        Some(Withdrawal::Orphan) => "orphan",
    };
    v1::Entry {
        since: Some(mark(entry.since)),
        digest: entry.digest.0.to_vec(),
        sealed: entry.sealed.0.to_vec(),
        commit: entry.commit.to_string(),
        policy: Some(v1::Policy {
            namespace: entry.policy.namespace.clone(),
            create_namespace: entry.policy.create_namespace,
            prune: entry.policy.prune,
            self_heal: entry.policy.self_heal,
            allow_empty: entry.policy.allow_empty,
            max_deletes: Some(max_deletes(entry.policy.max_deletes)),
        }),
        approved: entry.approved.map(|digest| digest.0.to_vec()).unwrap_or_default(),
        withdrawn: withdrawn.to_owned(),
        trace: entry.trace.clone().unwrap_or_default(),
    }
}

/// Reads an index entry.
///
/// # Errors
/// [`Error`] with the field that is wrong.
pub fn read_entry(entry: v1::Entry) -> Result<Entry, Error> {
    let policy = there("Entry", "policy", entry.policy)?;
    let withdrawn = match entry.withdrawn.as_str() {
        "" => None,
        "cascade" => Some(Withdrawal::Cascade),
        "orphan" => Some(Withdrawal::Orphan),
        other => return Err(field("Entry", "withdrawn", other)),
    };
    let approved =
        if entry.approved.is_empty() { None } else { Some(digest("Entry", "approved", &entry.approved)?) };
    Ok(Entry {
        since: read_mark(entry.since),
        digest: digest("Entry", "digest", &entry.digest)?,
        sealed: digest("Entry", "sealed", &entry.sealed)?,
        commit: CommitId::parse(&entry.commit)?,
        policy: Policy {
            namespace: policy.namespace,
            create_namespace: policy.create_namespace,
            prune: policy.prune,
            self_heal: policy.self_heal,
            allow_empty: policy.allow_empty,
            max_deletes: there("Policy", "max_deletes", read_max_deletes(policy.max_deletes)?)?,
        },
        approved,
        withdrawn,
        trace: (!entry.trace.is_empty()).then_some(entry.trace),
    })
}

pub(crate) fn change(change: &Change) -> v1::Change {
    v1::Change {
        app: change.app.to_string(),
        entry: change.entry.as_ref().map(entry),
        reason: change.reason.clone(),
    }
}

pub(crate) fn read_change(change: v1::Change) -> Result<Change, Error> {
    Ok(Change {
        app: AppId::parse(&change.app)?,
        entry: change.entry.map(read_entry).transpose()?,
        reason: change.reason,
    })
}
