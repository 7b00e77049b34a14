//! From declarations to instances: which app on which cluster, rendered from what.

use super::declared::{Declared, Destination, MaxDeletes, Render, SyncPolicy};
use super::state::{Listed, Root, State};
use crate::cluster;
use crate::desired::MAX_DELETES;
use crate::id::{AppId, AppName, ClusterName};
use crate::planner::{Part, Variant};
use crate::source::{self, Track};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

/// One instance as Git wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// What is to be rendered for it.
    pub variant: Variant,
    /// Namespace for objects that name none; empty for `default`.
    pub namespace: String,
    /// How it is kept in step.
    pub sync: SyncPolicy,
    /// More deletions than this wait for an approval.
    pub max_deletes: MaxDeletes,
    /// Log index of the declaration.
    pub cause: u64,
}

/// The policy of the objects that lie in a root beside the applications: Git is followed as it is.
const ROOT_POLICY: SyncPolicy =
    SyncPolicy { automated: true, prune: true, self_heal: true, allow_empty: false, create_namespace: false };

/// What Git wants on `name`: by app, or why an app cannot be placed.
///
/// An app whose repository is no declared source, or whose name another source uses on the same cluster, is not placed.
pub fn placements(
    catalog: &State,
    sources: &source::State,
    name: &ClusterName,
    cluster: &cluster::Cluster,
) -> (BTreeMap<AppId, Placement>, BTreeMap<AppId, String>) {
    let mut placed = BTreeMap::new();
    let mut refused = BTreeMap::new();
    let mut names: BTreeMap<AppName, AppId> = BTreeMap::new();
    for ((source, root), listed) in &catalog.roots {
        for declared in listed.listing.apps.iter().filter(|declared| goes_to(declared, root, name, cluster)) {
            let app = AppId { source: source.clone(), name: declared.name.clone() };
            match place(declared, listed, sources, &mut names, &app) {
                Ok(placement) => {
                    placed.insert(app, placement);
                }
                Err(why) => {
                    refused.insert(app, why);
                }
            }
        }
        if let (true, Root::Cluster(of), Some(known)) =
            (listed.listing.rest, root, sources.sources.get(source))
            && of == name
            && let Ok(app_name) = AppName::parse(&format!("{name}-root"))
        {
            let variant = Variant {
                track: known.track.clone(),
                path: join(&known.path, &format!("clusters/{name}")),
                render: Render::Kustomize,
                part: Part::Rest,
            };
            let app = AppId { source: source.clone(), name: app_name };
            let (namespace, max_deletes) = (String::new(), MAX_DELETES);
            let placement =
                Placement { variant, namespace, sync: ROOT_POLICY, max_deletes, cause: listed.index };
            placed.insert(app, placement);
        }
    }
    (placed, refused)
}

fn goes_to(declared: &Declared, root: &Root, name: &ClusterName, cluster: &cluster::Cluster) -> bool {
    match &declared.destination {
        Destination::Here => matches!(root, Root::Cluster(of) if of == name),
        Destination::Cluster(of) => of == name,
        Destination::Selector(selector) => selector.matches(&cluster.labels),
    }
}

fn place(
    declared: &Declared,
    listed: &Listed,
    sources: &source::State,
    names: &mut BTreeMap<AppName, AppId>,
    app: &AppId,
) -> Result<Placement, String> {
    if let Some(other) = names.get(&app.name) {
        return Err(format!("{other} has this name on this cluster already"));
    }
    let Some(url) = sources.repository(&declared.repo_url) else {
        return Err(format!(
            "{} is not a declared source: add it with `taffrail source add`",
            declared.repo_url
        ));
    };
    names.insert(app.name.clone(), app.clone());
    let variant = Variant {
        track: Track { url: String::from(url), revision: declared.target_revision.clone() },
        path: declared.path.clone(),
        render: declared.render,
        part: Part::All,
    };
    Ok(Placement {
        variant,
        namespace: declared.namespace.clone().unwrap_or_default(),
        sync: declared.sync,
        max_deletes: declared.max_deletes.unwrap_or(MAX_DELETES),
        cause: listed.index,
    })
}

/// Joins two paths of a tree; either may be empty.
pub fn join(base: &str, path: &str) -> String {
    if base.is_empty() { String::from(path) } else { format!("{}/{path}", base.trim_end_matches('/')) }
}
