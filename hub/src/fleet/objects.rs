//! The objects of an app's instances: those of its bundles, with what its agents said of them.
//!
//! The hub does not know live objects. It knows which ones a bundle asks for, and which of them its agent named as in
//! trouble; of the others it says no more than follows from the whole instance.

use super::instance::{Placed, health};
use super::internal;
use super::sight::condition;
use crate::api::Error;
use crate::log::Log;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use taffrail_core::digest::Digest;
use taffrail_core::event::agent::{Status, Trouble};
use taffrail_core::health::Health;
use taffrail_core::id::{AppId, ClusterName};
use taffrail_core::node::hub::Durable;
use taffrail_core::object::Key;
use taffrail_core::object::key::version_of;
use taffrail_proto::bundle;
use taffrail_proto::v1::{AppRow, ConnectionStatus, HealthStatus, InstanceRow, ObjectRow, SyncStatus};

/// What is needed to list the objects of one instance.
pub(super) struct Open {
    app: AppId,
    cluster: String,
    digest: Digest,
    commit: String,
    status: Option<Status>,
}

impl Open {
    /// Of an instance that its index holds.
    pub(super) fn of(state: &Durable, cluster: &ClusterName, placed: &Placed) -> Option<Open> {
        let desired = state.planner.fleet.get(cluster)?;
        let entry = desired.index.entries.get(&placed.app)?;
        let status = desired.reports.get(&placed.app).map(|report| report.status.clone());
        Some(Open {
            app: placed.app.clone(),
            cluster: cluster.to_string(),
            digest: entry.digest,
            commit: entry.commit.to_string(),
            status: status.filter(|status| status.since == entry.since && status.digest == entry.digest),
        })
    }

    fn is_of(&self, row: &AppRow) -> bool {
        self.app.name.as_str() == row.name && self.app.source.as_str() == row.source
    }
}

/// One object of a bundle.
type Listed = (Key, String);

/// Lists the objects of every instance in `open`. A bundle that is gone is said on the instance, not shown as empty.
pub(super) fn fill(log: &dyn Log, rows: &mut [AppRow], open: &[Open]) -> Result<(), Error> {
    let mut bundles: BTreeMap<Digest, Option<Vec<Listed>>> = BTreeMap::new();
    for one in open {
        let listed = match bundles.entry(one.digest) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(read(log, one.digest)?),
        };
        let row = rows.iter_mut().find(|row| one.is_of(row));
        let instance = row.and_then(|row| row.instances.iter_mut().find(|row| row.cluster == one.cluster));
        let Some(instance) = instance else { continue };
        if let Some(listed) = listed {
            instance.objects = listed.iter().map(|object| object_row(object, one, instance)).collect();
        } else {
            let message = format!("Bundle {} is no longer kept here.", one.digest.short());
            instance.conditions.push(condition("BundleGone", message, 0));
        }
    }
    Ok(())
}

fn read(log: &dyn Log, digest: Digest) -> Result<Option<Vec<Listed>>, Error> {
    let stored = log.get_blob(&digest).map_err(|error| internal("reading a bundle", &error))?;
    let Some(bytes) = stored else { return Ok(None) };
    let objects = bundle::decode(&bytes, digest).map_err(|error| internal("reading a bundle", &error))?;
    let version =
        |object: &serde_json::Value| version_of(object["apiVersion"].as_str().unwrap_or_default()).to_owned();
    Ok(Some(objects.iter().filter_map(|object| Some((Key::of(object)?, version(object)))).collect()))
}

fn object_row((key, version): &Listed, open: &Open, instance: &InstanceRow) -> ObjectRow {
    let named = |trouble: &&Trouble| {
        let same_place = key.namespace.is_empty() || key.namespace == trouble.object.namespace;
        let Key { group, kind, name, .. } = &trouble.object;
        same_place && (group, kind, name) == (&key.group, &key.kind, &key.name)
    };
    let trouble = open.status.as_ref().and_then(|status| status.troubles.iter().find(named));
    let namespace = trouble.map_or(&key.namespace, |trouble| &trouble.object.namespace);
    let (sync, health) = stand(open, instance, trouble);
    let message = trouble.map(|trouble| match &trouble.cause {
        Some(cause) => format!("{cause}: {}", trouble.message),
        None => trouble.message.clone(),
    });
    ObjectRow {
        group: key.group.clone(),
        version: version.clone(),
        kind: key.kind.clone(),
        namespace: namespace.clone(),
        name: key.name.clone(),
        sync: sync as i32,
        health: health as i32,
        message: message.unwrap_or_default(),
        commit: open.commit.clone(),
        ..ObjectRow::default()
    }
}

fn stand(open: &Open, instance: &InstanceRow, trouble: Option<&Trouble>) -> (SyncStatus, HealthStatus) {
    let connected = instance.connection() == ConnectionStatus::Connected;
    let Some(status) = open.status.as_ref().filter(|_| connected) else {
        return (SyncStatus::Unknown, HealthStatus::Unknown);
    };
    let synced = instance.reported_sync() == SyncStatus::Synced;
    let failed = instance.reported_sync() == SyncStatus::Failed && trouble.is_some();
    let sync = match (synced, failed) {
        (true, _) => SyncStatus::Synced,
        (_, true) => SyncStatus::Failed,
        _ => SyncStatus::Unknown,
    };
    let well = match (trouble, status.health) {
        (None, Health::Healthy) => HealthStatus::Healthy,
        (Some(_), Health::Degraded) => HealthStatus::Degraded,
        (Some(_), worst) if worst != Health::Healthy => health(worst),
        _ => HealthStatus::Unknown,
    };
    (sync, well)
}
