//! What people order, and how it is decided.

use super::durable::Durable;
use crate::catalog::{self, Destination, Root};
use crate::cluster;
use crate::digest::Digest;
use crate::epoch;
use crate::event::agent::Phase;
use crate::event::{Actor, Context, HubEvent, HubFact};
use crate::id::{AppId, ClusterName};
use crate::source;
use crate::time::At;
use alloc::string::String;
use alloc::vec::Vec;

/// A person's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// About a source.
    Source(source::Command),
    /// About a cluster.
    Cluster(cluster::Command),
    /// Deliver the newest rendering of an app; to all its clusters if none is named.
    Sync {
        /// The app.
        app: AppId,
        /// Where.
        clusters: Vec<ClusterName>,
        /// Why.
        reason: String,
    },
    /// Let the deletions of an app go on that a guard holds.
    Approve {
        /// The app.
        app: AppId,
        /// Where.
        cluster: ClusterName,
        /// The bundle that the person saw; `None` for whichever is held when the order arrives.
        bundle: Option<Digest>,
        /// Why.
        reason: String,
    },
    /// Begin a new epoch by a grant whose signature was checked.
    RaiseEpoch(epoch::Grant),
}

/// Why an order is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// About a source.
    #[error(transparent)]
    Source(#[from] source::Rejected),
    /// About a cluster.
    #[error(transparent)]
    Cluster(#[from] cluster::Rejected),
    /// About the epoch.
    #[error(transparent)]
    Epoch(#[from] epoch::Rejected),
    /// The log is too old.
    #[error("the hub is read-only: its log is older than what its fleet holds")]
    ReadOnly {
        /// What shows it.
        why: String,
    },
    /// A newer version wrote the log.
    #[error("the hub is read-only: a newer version wrote its log")]
    TooNew {
        /// What shows it.
        why: String,
    },
    /// No cluster has this app.
    #[error("no cluster has an app {0}")]
    UnknownApp(AppId),
    /// The app is not placed on this cluster.
    #[error("app {app} is not placed on cluster {cluster}")]
    NotPlaced {
        /// The app.
        app: AppId,
        /// The cluster.
        cluster: ClusterName,
    },
    /// Another bundle is to run by now than the one that is approved.
    #[error("app {app} on cluster {cluster} is to run another bundle by now: {waits}")]
    OtherBundle {
        /// The app.
        app: AppId,
        /// The cluster.
        cluster: ClusterName,
        /// The bundle that is to run.
        waits: Digest,
    },
    /// Nothing waits for an approval.
    #[error("app {app} on cluster {cluster} waits for no approval")]
    NothingHeld {
        /// The app.
        app: AppId,
        /// The cluster.
        cluster: ClusterName,
    },
}

/// Decides a person's order. `placed` names the clusters on which Git has an app.
///
/// # Errors
/// [`Rejected`] with the reason; the state is unchanged then.
pub(super) fn decide(
    state: &Durable,
    command: &Command,
    actor: &Actor,
    at: At,
    placed: impl Fn(&AppId) -> Vec<ClusterName>,
) -> Result<Vec<HubEvent>, Rejected> {
    match command {
        Command::Source(order) => Ok(source::decide(&state.sources, order, actor, at)?),
        Command::Cluster(order) => {
            let order = checked(state, order);
            Ok(cluster::decide(&state.clusters, &order, actor, at)?)
        }
        Command::Sync { app, clusters, reason } => {
            let placed = placed(app);
            if placed.is_empty() {
                return Err(Rejected::UnknownApp(app.clone()));
            }
            if let Some(cluster) = clusters.iter().find(|cluster| !placed.contains(cluster)) {
                return Err(Rejected::NotPlaced { app: app.clone(), cluster: cluster.clone() });
            }
            let clusters = if clusters.is_empty() { placed } else { clusters.clone() };
            let fact = HubFact::SyncRequested { clusters, reason: reason.clone() };
            Ok(alloc::vec![HubEvent { context: Context::new(actor.clone(), at).app(app), fact }])
        }
        Command::Approve { app, cluster, bundle, reason } => {
            approve(state, app, cluster, *bundle, reason, actor, at)
        }
        Command::RaiseEpoch(grant) => {
            let fact = epoch::raise(&state.epochs, state.planner.epoch, grant)?;
            Ok(alloc::vec![HubEvent { context: Context::new(actor.clone(), at), fact }])
        }
    }
}

/// Fills in what only the catalog knows: whether Git still uses the old name.
fn checked(state: &Durable, order: &cluster::Command) -> cluster::Command {
    match order {
        cluster::Command::Rename { from, to, .. } => cluster::Command::Rename {
            from: from.clone(),
            to: to.clone(),
            root_in_git: names(&state.catalog, from),
        },
        other => other.clone(),
    }
}

fn names(catalog: &catalog::State, cluster: &ClusterName) -> bool {
    let named =
        |destination: &Destination| matches!(destination, Destination::Cluster(name) if name == cluster);
    catalog.roots.iter().any(|((_, root), listed)| {
        matches!(root, Root::Cluster(name) if name == cluster)
            || listed.listing.apps.iter().any(|app| named(&app.destination))
    })
}

fn approve(
    state: &Durable,
    app: &AppId,
    cluster: &ClusterName,
    bundle: Option<Digest>,
    reason: &str,
    actor: &Actor,
    at: At,
) -> Result<Vec<HubEvent>, Rejected> {
    let desired = state.planner.fleet.get(cluster);
    let entry = desired.and_then(|desired| desired.index.entries.get(app));
    let (Some(desired), Some(entry)) = (desired, entry) else {
        return Err(Rejected::NotPlaced { app: app.clone(), cluster: cluster.clone() });
    };
    if bundle.is_some_and(|bundle| bundle != entry.digest) {
        let (app, cluster, waits) = (app.clone(), cluster.clone(), entry.digest);
        return Err(Rejected::OtherBundle { app, cluster, waits });
    }
    let held = desired.reports.get(app).is_some_and(|report| {
        report.status.digest == entry.digest
            && (report.status.phase == Phase::Parked || !report.status.held.is_empty())
    });
    if !held || entry.approved == Some(entry.digest) {
        return Err(Rejected::NothingHeld { app: app.clone(), cluster: cluster.clone() });
    }
    let context = Context::new(actor.clone(), at).app(app).cluster(cluster).commit(&entry.commit);
    let fact = HubFact::Approved { digest: entry.digest, reason: String::from(reason) };
    Ok(alloc::vec![HubEvent { context, fact }])
}
