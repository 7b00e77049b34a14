//! From declarations to instances: which app on which cluster, rendered from what.

use super::declared::{Declared, Destination, MaxDeletes, Render, SyncPolicy};
use super::state::{Listed, Root, State};
use crate::cluster;
use crate::desired::{Entry, Index, MAX_DELETES};
use crate::id::{AppId, AppName, ClusterName, SourceName};
use crate::planner::{Part, Variant};
use crate::source::{self, Track};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

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
/// An app whose repository is no declared source is not placed. Of two apps with one name on the cluster the one that
/// `held` (its index) has already stays, else the first in the order of sources; the other is not placed.
pub fn placements(
    catalog: &State,
    sources: &source::State,
    name: &ClusterName,
    cluster: &cluster::Cluster,
    held: Option<&Index>,
) -> (BTreeMap<AppId, Placement>, BTreeMap<AppId, String>) {
    let mut placing =
        Placing { sources, names: BTreeMap::new(), placed: BTreeMap::new(), refused: BTreeMap::new() };
    let stays = |entry: &Entry| entry.withdrawn.is_none();
    for (app, _) in held.iter().flat_map(|index| &index.entries).filter(|(_, entry)| stays(entry)) {
        placing.names.insert(app.name.clone(), (app.clone(), false));
    }
    let reaching = || catalog.reaching(name);
    let apps =
        reaching().flat_map(|(key, listed)| listed.listing.apps.iter().map(move |app| (key, listed, app)));
    let wanted: Vec<_> =
        apps.filter(|((_, root), _, declared)| goes_to(declared, root, name, cluster)).collect();
    let roots: Vec<_> = reaching().filter_map(|(key, listed)| rest(key, listed, name)).collect();
    let named =
        wanted.iter().map(|((source, _), _, app)| AppId { source: source.clone(), name: app.name.clone() });
    let named: BTreeSet<AppId> = named.chain(roots.iter().map(|(app, _)| app.clone())).collect();
    placing.names.retain(|_, (app, _)| named.contains(app));
    for (app, listed) in roots {
        placing.root(app, listed, name);
    }
    for ((source, _), listed, declared) in wanted {
        placing.app(AppId { source: source.clone(), name: declared.name.clone() }, declared, listed);
    }
    (placing.placed, placing.refused)
}

/// The app of the objects that lie beside the applications in the root of this cluster.
fn rest<'a>(
    (source, root): &(SourceName, Root),
    listed: &'a Listed,
    cluster: &ClusterName,
) -> Option<(AppId, &'a Listed)> {
    let here = listed.listing.rest && matches!(root, Root::Cluster(of) if of == cluster);
    let name = AppName::parse(&format!("{cluster}-root")).ok().filter(|_| here)?;
    Some((AppId { source: source.clone(), name }, listed))
}

/// Apps as they are placed, and who has which name (and whether it was placed under it).
struct Placing<'a> {
    sources: &'a source::State,
    names: BTreeMap<AppName, (AppId, bool)>,
    placed: BTreeMap<AppId, Placement>,
    refused: BTreeMap<AppId, String>,
}

impl Placing<'_> {
    fn root(&mut self, app: AppId, listed: &Listed, cluster: &ClusterName) {
        let Some(known) = self.sources.sources.get(&app.source) else { return };
        let variant = Variant {
            track: known.track.clone(),
            path: join(&known.path, &format!("clusters/{cluster}")),
            render: Render::Kustomize,
            part: Part::Rest,
        };
        let (namespace, max_deletes) = (String::new(), MAX_DELETES);
        let placement = Placement { variant, namespace, sync: ROOT_POLICY, max_deletes, cause: listed.index };
        self.put(app, placement);
    }

    fn app(&mut self, app: AppId, declared: &Declared, listed: &Listed) {
        let Some(url) = self.sources.repository(&declared.repo_url) else {
            let url = &declared.repo_url;
            let why = format!("{url} is not a declared source: add it with `taffrail source add`");
            self.refused.insert(app, why);
            return;
        };
        let variant = Variant {
            track: Track { url: String::from(url), revision: declared.target_revision.clone() },
            path: declared.path.clone(),
            render: declared.render,
            part: Part::All,
        };
        let placement = Placement {
            variant,
            namespace: declared.namespace.clone().unwrap_or_default(),
            sync: declared.sync,
            max_deletes: declared.max_deletes.unwrap_or(MAX_DELETES),
            cause: listed.index,
        };
        self.put(app, placement);
    }

    fn put(&mut self, app: AppId, placement: Placement) {
        match self.names.get(&app.name) {
            Some((other, placed)) if *placed || *other != app => {
                let why = format!("{other} has this name on this cluster already");
                self.refused.insert(app, why);
            }
            _ => {
                self.names.insert(app.name.clone(), (app.clone(), true));
                self.placed.insert(app, placement);
            }
        }
    }
}

fn goes_to(declared: &Declared, root: &Root, name: &ClusterName, cluster: &cluster::Cluster) -> bool {
    match &declared.destination {
        Destination::Here => matches!(root, Root::Cluster(of) if of == name),
        Destination::Cluster(of) => of == name,
        Destination::Selector(selector) => selector.matches(&cluster.labels),
    }
}

/// Joins two paths of a tree; either may be empty.
pub fn join(base: &str, path: &str) -> String {
    if base.is_empty() { String::from(path) } else { format!("{}/{path}", base.trim_end_matches('/')) }
}
