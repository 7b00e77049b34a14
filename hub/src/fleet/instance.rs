//! One app on one cluster: what Git wants, what its index says, and what its agent said last.

use super::sight::{Sight, condition};
use taffrail_core::catalog::Placement;
use taffrail_core::cluster::Cluster;
use taffrail_core::desired::{Entry, Withdrawal};
use taffrail_core::event::agent::{Phase, Trouble};
use taffrail_core::health::Health;
use taffrail_core::id::{AppId, ClusterName};
use taffrail_core::object::Key;
use taffrail_core::planner::{Bundle, Desired, Failure, Report};
use taffrail_core::source::{Head, Track};
use taffrail_proto::v1::{
    Cause, Condition, Considered, HealthStatus, InstanceRow, PendingApproval, SyncStatus,
};

/// An instance as a row, and what the row was made of.
pub(super) struct Placed {
    pub(super) app: AppId,
    pub(super) row: InstanceRow,
    pub(super) placement: Option<Placement>,
    /// The newest rendering, whether it was ordered or not.
    pub(super) newest: Option<String>,
}

/// Everything that is known of one instance.
struct Known<'a> {
    entry: Option<&'a Entry>,
    report: Option<&'a Report>,
    placement: Option<&'a Placement>,
    bundle: Option<&'a Bundle>,
    failure: Option<&'a Failure>,
    refused: Option<&'a String>,
    requested: bool,
    joined: bool,
}

/// The instances on one cluster that `wanted` picks, by app.
pub(super) fn on(
    sight: Sight<'_>,
    name: &ClusterName,
    cluster: &Cluster,
    wanted: impl Fn(&AppId) -> bool,
) -> Vec<Placed> {
    let state = sight.state();
    let (placements, refused) = state.placements(name, cluster);
    let none = Desired::default();
    let desired = state.planner.fleet.get(name).unwrap_or(&none);
    let mut apps: Vec<&AppId> =
        placements.keys().chain(refused.keys()).chain(desired.index.entries.keys()).collect();
    apps.sort();
    apps.dedup();
    let (connection, heard_at_ms) = (sight.connection(name, cluster), sight.heard_at(name, cluster).0);
    let place = |app: &AppId| {
        let placement = placements.get(app);
        let variant = placement.map(|placement| &placement.variant);
        let known = Known {
            entry: desired.index.entries.get(app),
            report: desired.reports.get(app),
            placement,
            bundle: variant.and_then(|variant| state.planner.bundles.get(variant)),
            failure: variant.and_then(|variant| state.planner.failures.get(variant)),
            refused: refused.get(app),
            requested: desired.requested.contains(app),
            joined: cluster.enrolment.is_some(),
        };
        let mut row = known.row();
        row.app = app.name.to_string();
        row.cluster = name.to_string();
        row.connection = connection as i32;
        row.heard_at_ms = heard_at_ms;
        row.state_index = state.index;
        let raised = known.entry.is_some_and(|entry| entry.since == desired.index.mark);
        row.considered =
            placement.map(|placement| considered(sight, name, app, placement)).unwrap_or_default();
        row.desired_index = if raised { desired.raised } else { 0 };
        let newest = known.bundle.map(|bundle| bundle.commit.to_string());
        Placed { app: app.clone(), row, placement: placement.cloned(), newest }
    };
    apps.into_iter().filter(|app| wanted(app)).map(place).collect()
}

fn considered(sight: Sight<'_>, name: &ClusterName, app: &AppId, placement: &Placement) -> Vec<Considered> {
    let heads = sight.hub.considered(name, app, placement).into_iter();
    let head = |(track, head): (&Track, &Head)| Considered {
        repo: track.url.clone(),
        revision: track.revision.clone(),
        commit: head.commit.to_string(),
        event_index: head.index,
    };
    heads.map(head).collect()
}

impl Known<'_> {
    fn row(&self) -> InstanceRow {
        let status = self.report.map(|report| &report.status);
        let sync = self.sync();
        let health = status.map_or(HealthStatus::Unknown, |status| health(status.health));
        let mut row = InstanceRow {
            sync: sync as i32,
            health: health as i32,
            reported_sync: sync as i32,
            reported_health: health as i32,
            causes: status.map(|status| causes(&status.troubles)).unwrap_or_default(),
            approvals: self.approvals(),
            changed_at_ms: self.report.map_or(0, |report| report.at.0),
            conditions: self.conditions(),
            objects_total: status.map_or(0, |status| status.objects),
            ..InstanceRow::default()
        };
        if let Some(entry) = self.entry {
            row.desired_commit = entry.commit.to_string();
            row.desired_digest = entry.digest.to_string();
            row.withdrawn = match entry.withdrawn {
                Some(Withdrawal::Cascade) => String::from("cascade"),
                Some(Withdrawal::Orphan) => String::from("orphan"),
                None => String::new(),
            };
        }
        if let Some(status) = status.filter(|status| matches!(status.phase, Phase::Synced | Phase::OutOfSync))
        {
            row.running_digest = status.digest.to_string();
            let same = self.entry.filter(|entry| entry.digest == status.digest);
            row.running_commit = same.map(|entry| entry.commit.to_string()).unwrap_or_default();
            if status.phase == Phase::Synced && health == HealthStatus::Healthy {
                row.good_commit.clone_from(&row.running_commit);
            }
        }
        if let Some(report) = self.current() {
            if report.status.phase == Phase::Parked {
                row.parked_reason.clone_from(&report.status.message);
            }
            let told = row.causes.iter().any(|cause| report.status.message.ends_with(&cause.message));
            let plain = matches!(report.status.phase, Phase::Failed | Phase::OutOfSync);
            if plain && !told && !report.status.message.is_empty() {
                let (object, message) = (String::new(), report.status.message.clone());
                row.causes.push(Cause { object, cause: String::new(), message });
            }
        }
        row
    }

    /// What the agent said, if it is about what the index asks for now.
    fn current(&self) -> Option<&Report> {
        let entry = self.entry?;
        self.report
            .filter(|report| report.status.since == entry.since && report.status.digest == entry.digest)
    }

    fn sync(&self) -> SyncStatus {
        if !self.joined {
            return SyncStatus::Unknown;
        }
        let Some(entry) = self.entry else { return self.undelivered() };
        if entry.withdrawn.is_some() {
            return SyncStatus::Syncing;
        }
        let Some(report) = self.current() else { return SyncStatus::Syncing };
        match report.status.phase {
            Phase::Syncing | Phase::Withdrawing => SyncStatus::Syncing,
            Phase::OutOfSync => SyncStatus::OutOfSync,
            Phase::Failed => SyncStatus::Failed,
            Phase::Parked => SyncStatus::Parked,
            Phase::Synced if self.failure.is_some() => SyncStatus::OutOfSync,
            Phase::Synced if self.bundle.is_some_and(|bundle| bundle.digest != entry.digest) => {
                self.waiting()
            }
            Phase::Synced => SyncStatus::Synced,
        }
    }

    /// Git wants it, and no index has it.
    fn undelivered(&self) -> SyncStatus {
        if self.refused.is_some() || self.failure.is_some() {
            return SyncStatus::OutOfSync;
        }
        if self.bundle.is_some() { self.waiting() } else { SyncStatus::Syncing }
    }

    /// Something newer is rendered: on its way, or waiting for a person.
    fn waiting(&self) -> SyncStatus {
        let automated = self.placement.is_some_and(|placement| placement.sync.automated);
        if automated || self.requested { SyncStatus::Syncing } else { SyncStatus::OutOfSync }
    }

    fn approvals(&self) -> Vec<PendingApproval> {
        let (Some(entry), Some(report)) = (self.entry, self.current()) else { return Vec::new() };
        let (status, approved) = (&report.status, entry.approved == Some(entry.digest));
        let Some(what) = pending(status.phase, &status.held).filter(|_| !approved) else { return Vec::new() };
        vec![PendingApproval {
            what: what.to_owned(),
            message: status.message.clone(),
            objects: status.held.iter().map(object_name).collect(),
            since_ms: report.at.0,
            event_index: report.index,
            bundle: entry.digest.to_string(),
        }]
    }

    fn conditions(&self) -> Vec<Condition> {
        let failed = self.failure.map(|failure| {
            let message = format!("{} cannot be rendered: {}", failure.commit.short(), failure.message);
            condition("RenderFailed", message, failure.index)
        });
        let refused = self.refused.map(|why| condition("NotPlaced", why.clone(), 0));
        let newer = self.bundle.filter(|bundle| {
            self.waiting() == SyncStatus::OutOfSync
                && self.entry.is_none_or(|entry| entry.digest != bundle.digest)
        });
        let newer = newer.map(|bundle| {
            let message = format!("Commit {} waits for taffrail sync.", bundle.commit.short());
            condition("NewerCommit", message, bundle.index)
        });
        let index = self.report.map_or(0, |report| report.index);
        let flaps = self.report.map(|report| report.status.flaps).filter(|flaps| *flaps > 0);
        let flaps = flaps.map(|flaps| {
            condition("Flapping", format!("{flaps} changes of health were folded into one."), index)
        });
        [failed, refused, newer, flaps].into_iter().flatten().collect()
    }
}

/// What `approve` names: deletions that a guard holds one by one, or a whole bundle that shrank.
pub(super) fn pending(phase: Phase, held: &[Key]) -> Option<&'static str> {
    match phase {
        _ if !held.is_empty() => Some("prune"),
        Phase::Parked => Some("shrink"),
        _ => None,
    }
}

fn causes(troubles: &[Trouble]) -> Vec<Cause> {
    let cause = |trouble: &Trouble| Cause {
        object: object_name(&trouble.object),
        cause: trouble.cause.as_ref().map(ToString::to_string).unwrap_or_default(),
        message: trouble.message.clone(),
    };
    troubles.iter().map(cause).collect()
}

/// `Kind/namespace/name`, or `Kind/name` without a namespace.
pub(super) fn object_name(key: &Key) -> String {
    if key.namespace.is_empty() {
        format!("{}/{}", key.kind, key.name)
    } else {
        format!("{}/{}/{}", key.kind, key.namespace, key.name)
    }
}

pub(super) fn health(health: Health) -> HealthStatus {
    match health {
        Health::Healthy => HealthStatus::Healthy,
        Health::Suspended => HealthStatus::Suspended,
        Health::Progressing => HealthStatus::Progressing,
        Health::Missing => HealthStatus::Missing,
        Health::Degraded => HealthStatus::Degraded,
        Health::Unknown => HealthStatus::Unknown,
    }
}
