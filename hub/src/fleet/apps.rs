//! Apps as rows: declarations of Git, and their instances over the fleet.

use super::event_row::Names;
use super::instance::{self, Placed};
use super::sight::{CONDITIONS_MAX, Sight, condition, known_apps};
use super::{FleetService, drift, objects};
use crate::api::Error;
use crate::api::service::{Answer, Apps, Detail};
use std::collections::BTreeMap;
use taffrail_core::catalog::{Declared, Destination};
use taffrail_core::id::AppId;
use taffrail_core::node::hub::Durable;
use taffrail_proto::v1::{AppRow, Condition};

/// Most clusters whose bundles are opened for one answer: the API refuses more than 20,000 objects anyway.
const OPENED_MAX: usize = 2_000;

impl FleetService {
    /// Apps with their instances, and with objects if they are asked for.
    pub(super) async fn app_rows(&self, which: Apps, detail: Detail) -> Result<Answer<Vec<AppRow>>, Error> {
        let (lease, one) = (self.settings.lease, which.app.is_some());
        let looked = self.ask(move |hub, at| {
            let (rows, open) = collect(Sight { hub, at, lease }, &which);
            (rows, open, one.then(|| Names::of(hub.state())))
        });
        let Answer { view, value: (rows, open, names) } = looked.await?;
        let Some(names) = names else { return Ok(Answer { view, value: rows }) };
        let (until, mut rows, mut open) = (view.state_index, rows, open);
        let value = self.read(move |log| {
            open.truncate(OPENED_MAX);
            if detail == Detail::Objects {
                objects::fill(log, &mut rows, &open)?;
            }
            for row in &mut rows {
                drift::fill(log, row, &names, until)?;
            }
            Ok(rows)
        });
        Ok(Answer { view, value: value.await? })
    }
}

fn picks(which: &Apps, app: &AppId) -> bool {
    which.source.as_ref().is_none_or(|source| *source == app.source)
        && which.app.as_ref().is_none_or(|name| {
            name.name == app.name && name.source.as_ref().is_none_or(|source| *source == app.source)
        })
}

/// The rows of one state, and what is needed to open their bundles.
fn collect(sight: Sight<'_>, which: &Apps) -> (Vec<AppRow>, Vec<objects::Open>) {
    let state = sight.state();
    let mut rows: BTreeMap<AppId, AppRow> = known_apps(state)
        .filter(|app| picks(which, app))
        .map(|app| (app.clone(), bare(state, &app)))
        .collect();
    let mut open = Vec::new();
    for (name, cluster) in &state.clusters.clusters {
        if which.cluster.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        for placed in instance::on(sight, name, cluster, |app| picks(which, app)) {
            if which.app.is_some() {
                open.extend(objects::Open::of(state, name, &placed));
            }
            let row = rows.entry(placed.app.clone()).or_insert_with(|| bare(state, &placed.app));
            add(row, placed);
        }
    }
    (rows.into_values().collect(), open)
}

/// A row before its instances.
fn bare(state: &Durable, app: &AppId) -> AppRow {
    let declared = state
        .catalog
        .roots
        .iter()
        .filter(|((source, _), _)| *source == app.source)
        .find_map(|(_, listed)| listed.listing.apps.iter().find(|declared| declared.name == app.name));
    let mut row = AppRow {
        name: app.name.to_string(),
        source: app.source.to_string(),
        state_index: state.index,
        ..AppRow::default()
    };
    if let Some(declared) = declared {
        row.namespace = declared.namespace.clone().unwrap_or_default();
        row.automated = declared.sync.automated;
        row.repo.clone_from(&declared.repo_url);
        row.path.clone_from(&declared.path);
        row.revision.clone_from(&declared.target_revision);
        row.conditions.extend(homeless(state, declared));
    }
    row
}

/// An app for a cluster that does not exist.
fn homeless(state: &Durable, declared: &Declared) -> Option<Condition> {
    match &declared.destination {
        Destination::Cluster(name) if !state.clusters.clusters.contains_key(name) => {
            let message = format!("There is no cluster {name}. Next: taffrail cluster join {name}");
            Some(condition("NoCluster", message, 0))
        }
        _ => None,
    }
}

fn add(row: &mut AppRow, placed: Placed) {
    let Placed { row: instance, placement, newest, .. } = placed;
    if let Some(placement) = placement.filter(|_| row.repo.is_empty()) {
        row.namespace = placement.namespace;
        row.automated = placement.sync.automated;
        row.repo = placement.variant.track.url;
        row.path = placement.variant.path;
        row.revision = placement.variant.track.revision;
    }
    if let Some(newest) = newest.filter(|_| row.commit.is_empty()) {
        row.commit = newest;
    }
    for found in &instance.conditions {
        let known =
            row.conditions.iter().any(|known| known.kind == found.kind && known.message == found.message);
        if !known && row.conditions.len() < CONDITIONS_MAX {
            row.conditions.push(found.clone());
        }
    }
    row.instances.push(instance);
}
