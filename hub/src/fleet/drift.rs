//! Drift of an app's instances, counted from the log: how often it was healed, and what stands.

use super::event_row::{Names, decoded};
use super::internal;
use crate::api::Error;
use crate::log::{Filter, Log};
use std::collections::BTreeMap;
use taffrail_core::event::AgentFact;
use taffrail_core::object::Key;
use taffrail_proto::event::Decoded;
use taffrail_proto::v1::{AppRow, InstanceRow, SyncStatus};

/// Most drift events of each kind that are read for one app: the newest.
const EVENTS_MAX: u32 = 5_000;

/// Most field paths shown of one object.
const FIELDS_MAX: usize = 20;

/// What stands of one object's drift.
struct Standing {
    fields: Vec<String>,
    manager: String,
}

/// Drift on one cluster.
#[derive(Default)]
struct Tally {
    healed: u64,
    standing: BTreeMap<Key, Standing>,
}

/// Counts drift up to log index `until` into a row's instances and their objects.
pub(super) fn fill(log: &dyn Log, row: &mut AppRow, names: &Names, until: u64) -> Result<(), Error> {
    let mut events = Vec::new();
    for kind in ["DriftBegun", "DriftHealed", "FactsFolded"] {
        let filter = Filter {
            app: Some(format!("{}/{}", row.source, row.name)),
            kind: Some(kind.to_owned()),
            before: Some(until.saturating_add(1)),
            newest_first: true,
            limit: EVENTS_MAX,
            ..Filter::default()
        };
        events.extend(log.query(&filter).map_err(|error| internal("reading drift", &error))?);
    }
    events.sort_by_key(|stored| stored.index);
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for stored in &events {
        let (header, fact) = decoded(stored)?;
        let (Decoded::Agent(event), cluster) = (fact, names.cluster(&header)) else { continue };
        let tally = tallies.entry(cluster).or_default();
        match event.fact {
            AgentFact::DriftBegun { object, fields, manager, .. } => {
                tally.standing.insert(object, Standing { fields, manager });
            }
            AgentFact::DriftHealed { object, .. } => {
                tally.healed += 1;
                tally.standing.remove(&object);
            }
            // Which objects drifted or were healed is not known any more; the state of the app is.
            AgentFact::FactsFolded { kind, count, .. } if kind.starts_with("Drift") => {
                tally.healed += if kind == "DriftHealed" { u64::from(count) } else { 0 };
                tally.standing.clear();
            }
            _ => {}
        }
    }
    for instance in &mut row.instances {
        if let Some(tally) = tallies.get(&instance.cluster) {
            show(instance, tally);
        }
    }
    Ok(())
}

/// An agent that says it is synced has no drift, whatever the log says: objects that left the app drift no more.
fn show(instance: &mut InstanceRow, tally: &Tally) {
    instance.drift_healed_total = tally.healed;
    if instance.reported_sync() == SyncStatus::Synced {
        return;
    }
    instance.drifted_now = u32::try_from(tally.standing.len()).unwrap_or(u32::MAX);
    for object in &mut instance.objects {
        let found = tally.standing.iter().find(|(key, _)| {
            let same_place = object.namespace.is_empty() || object.namespace == key.namespace;
            same_place && (&key.group, &key.kind, &key.name) == (&object.group, &object.kind, &object.name)
        });
        if let Some((_, standing)) = found {
            object.set_sync(SyncStatus::OutOfSync);
            object.drifted_fields = standing.fields.iter().take(FIELDS_MAX).cloned().collect();
            object.drifted_by.clone_from(&standing.manager);
        }
    }
}
