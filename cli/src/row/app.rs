//! An app, its instances and their objects as they are shown.

use serde::Serialize;
use taffrail_proto::v1::{self as wire, ConnectionStatus};

use super::{Cell, Condition, Row, conditions, connection_word, health_word, short_commit, sync_word};
use crate::time;

/// An app over its clusters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// Its name.
    pub name: String,
    /// The source that declares it.
    pub source: String,
    /// Namespace it is delivered to.
    pub namespace: String,
    /// `automated` or `manual`.
    pub policy: String,
    /// Newest commit that changed it.
    pub commit: String,
    /// Worst of its instances.
    pub sync: String,
    /// Worst of its instances.
    pub health: String,
    /// Instances.
    pub instances_total: u32,
    /// How many are synced.
    pub instances_synced: u32,
    /// How many are healthy.
    pub instances_healthy: u32,
    /// Of how many nobody knows the state.
    pub instances_unknown: u32,
    /// When the cluster that was silent longest was heard from.
    pub heard_at: Option<String>,
    /// How long ago that was.
    pub heard_ago_ms: Option<u64>,
    /// Log index of the state of this row.
    pub state_index: u64,
    /// Repository it is made from.
    pub repo: String,
    /// Directory in it.
    pub path: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// What people should know.
    pub conditions: Vec<Condition>,
    /// Where it runs.
    pub instances: Vec<Instance>,
}

/// An app on one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// The app.
    pub app: String,
    /// The cluster.
    pub cluster: String,
    /// `Connected`, `Silent` or `NeverJoined`.
    pub connection: String,
    /// `Unknown` while the cluster is not connected.
    pub sync: String,
    /// `Unknown` while the cluster is not connected.
    pub health: String,
    /// What the cluster said last, however long ago.
    pub reported_sync: String,
    /// What the cluster said last, however long ago.
    pub reported_health: String,
    /// What it should run.
    pub desired_commit: String,
    /// Digest of that bundle.
    pub desired_digest: String,
    /// Log index of the event that ordered it.
    pub desired_index: u64,
    /// What it said it runs.
    pub running_commit: String,
    /// Digest of that bundle.
    pub running_digest: String,
    /// The last that was healthy here.
    pub good_commit: String,
    /// When the hub last heard from the cluster.
    pub heard_at: Option<String>,
    /// How long ago that was.
    pub heard_ago_ms: Option<u64>,
    /// Since when sync and health are what they are.
    pub changed_at: Option<String>,
    /// Log index of the state of this row.
    pub state_index: u64,
    /// Why it is not as it should be, worst first.
    pub causes: Vec<Cause>,
    /// Objects that differ now.
    pub drifted_now: u32,
    /// How often drift was healed.
    pub drift_healed_total: u64,
    /// Why a guard parked it; empty if none did.
    pub parked_reason: String,
    /// What someone must approve.
    pub approvals: Vec<Approval>,
    /// `cascade` or `orphan` while its removal is not confirmed.
    pub withdrawn: String,
    /// What people should know.
    pub conditions: Vec<Condition>,
    /// Commits that what it should run was made from, whether they changed it or not.
    pub considered: Vec<Considered>,
    /// How many objects it has.
    pub objects_total: u32,
    /// The objects; only where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Object>,
}

/// The head of a revision that has been considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Considered {
    /// URL of the repository.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// Where it stands.
    pub commit: String,
    /// Log index of the event that says so.
    pub event_index: u64,
}

/// Why an instance is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// `Kind/namespace/name`, or empty.
    pub object: String,
    /// Named cause, such as `ImagePullBackOff`.
    pub cause: String,
    /// What the cluster said.
    pub message: String,
}

/// What someone must approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// What to name in `approve --what`.
    pub what: String,
    /// One sentence.
    pub message: String,
    /// The objects concerned.
    pub objects: Vec<String>,
    /// The bundle that waits: name it in `approve --bundle`, and no other one is approved.
    pub bundle: String,
    /// Since when it waits.
    pub since: Option<String>,
    /// Log index of the event that asks for it.
    pub event_index: u64,
}

/// An object of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for an object of the cluster.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// State.
    pub sync: String,
    /// Health.
    pub health: String,
    /// Why, if it is not as it should be.
    pub message: String,
    /// Field paths that differ.
    pub drifted_fields: Vec<String>,
    /// Who else manages them.
    pub drifted_by: String,
    /// Commit that last changed it.
    pub commit: String,
    /// `Kind/namespace/name` of the object above it.
    pub owner: String,
}

impl App {
    /// From the wire, with ages as of `now_ms`.
    pub fn new(row: wire::AppRow, now_ms: u64) -> App {
        App {
            policy: if row.automated { "automated" } else { "manual" }.to_owned(),
            sync: sync_word(row.sync),
            health: health_word(row.health),
            heard_at: time::rfc3339(row.heard_at_ms),
            heard_ago_ms: time::ago_ms(row.heard_at_ms, now_ms),
            conditions: conditions(row.conditions),
            instances: row.instances.into_iter().map(|instance| Instance::new(instance, now_ms)).collect(),
            name: row.name,
            source: row.source,
            namespace: row.namespace,
            commit: row.commit,
            instances_total: row.instances_total,
            instances_synced: row.instances_synced,
            instances_healthy: row.instances_healthy,
            instances_unknown: row.instances_unknown,
            state_index: row.state_index,
            repo: row.repo,
            path: row.path,
            revision: row.revision,
        }
    }

    /// The first thing that a person should know: what is wrong with the instance that is worst off.
    fn message(&self) -> String {
        let messages = self.instances.iter().map(|instance| (instance, instance.message()));
        let mut troubled: Vec<(&Instance, String)> =
            messages.filter(|(_, message)| !message.is_empty()).collect();
        troubled.sort_by_key(|(instance, _)| instance.urgency());
        match (troubled.as_slice(), self.conditions.first()) {
            ([], Some(condition)) => condition.message.clone(),
            ([], None) => String::new(),
            ([(instance, message)], _) => format!("{}: {message}", instance.cluster),
            ([(instance, message), others @ ..], _) => {
                format!("{}: {message} (and {} more)", instance.cluster, others.len())
            }
        }
    }
}

impl Instance {
    /// From the wire, with ages as of `now_ms`.
    pub fn new(row: wire::InstanceRow, now_ms: u64) -> Instance {
        let known = row.connection() == ConnectionStatus::Connected;
        let honest = |word: String| if known { word } else { "Unknown".to_owned() };
        Instance {
            connection: connection_word(row.connection),
            sync: honest(sync_word(row.sync)),
            health: honest(health_word(row.health)),
            reported_sync: sync_word(row.reported_sync),
            reported_health: health_word(row.reported_health),
            heard_at: time::rfc3339(row.heard_at_ms),
            heard_ago_ms: time::ago_ms(row.heard_at_ms, now_ms),
            changed_at: time::rfc3339(row.changed_at_ms),
            causes: row.causes.into_iter().map(Cause::from).collect(),
            approvals: row.approvals.into_iter().map(Approval::from).collect(),
            objects: row.objects.into_iter().map(Object::from).collect(),
            considered: row.considered.into_iter().map(Considered::from).collect(),
            conditions: conditions(row.conditions),
            app: row.app,
            cluster: row.cluster,
            desired_commit: row.desired_commit,
            desired_digest: row.desired_digest,
            desired_index: row.desired_index,
            running_commit: row.running_commit,
            running_digest: row.running_digest,
            good_commit: row.good_commit,
            state_index: row.state_index,
            drifted_now: row.drifted_now,
            drift_healed_total: row.drift_healed_total,
            parked_reason: row.parked_reason,
            withdrawn: row.withdrawn,
            objects_total: row.objects_total,
        }
    }

    /// Why it is not as it should be, in one line; empty if it is.
    pub fn message(&self) -> String {
        if self.connection == "Silent" {
            return format!("not heard from; said last: {}, {}", self.reported_sync, self.reported_health);
        }
        if let Some(approval) = self.approvals.first() {
            return format!("waits for approval of {}: {}", approval.what, approval.message);
        }
        if !self.parked_reason.is_empty() {
            return self.parked_reason.clone();
        }
        match self.causes.first() {
            Some(cause) => cause.line(),
            None if !self.withdrawn.is_empty() => format!("is being removed ({})", self.withdrawn),
            None => String::new(),
        }
    }

    /// How soon a person should look at it; the lower, the sooner.
    fn urgency(&self) -> u8 {
        match (self.sync.as_str(), self.health.as_str()) {
            ("Failed", _) => 0,
            ("Parked", _) => 1,
            (_, "Degraded" | "Missing") => 2,
            ("Unknown", _) | (_, "Unknown") => 3,
            _ => 4,
        }
    }

    /// What runs, and what should if that is something else.
    pub fn commits(&self) -> String {
        let (running, desired) = (short_commit(&self.running_commit), short_commit(&self.desired_commit));
        match (running.as_str(), desired.as_str()) {
            (running, desired) if running == desired => running.to_owned(),
            (running, "") => running.to_owned(),
            ("", desired) => format!("-> {desired}"),
            (running, desired) => format!("{running} -> {desired}"),
        }
    }
}

impl Cause {
    /// In one line.
    pub fn line(&self) -> String {
        let parts = [self.object.as_str(), self.cause.as_str(), self.message.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<&str>>().join(": ")
    }
}

impl From<wire::Considered> for Considered {
    fn from(row: wire::Considered) -> Considered {
        let wire::Considered { repo, revision, commit, event_index } = row;
        Considered { repo, revision, commit, event_index }
    }
}

impl From<wire::Cause> for Cause {
    fn from(row: wire::Cause) -> Cause {
        Cause { object: row.object, cause: row.cause, message: row.message }
    }
}

impl From<wire::PendingApproval> for Approval {
    fn from(row: wire::PendingApproval) -> Approval {
        Approval {
            what: row.what,
            message: row.message,
            objects: row.objects,
            bundle: row.bundle,
            since: time::rfc3339(row.since_ms),
            event_index: row.event_index,
        }
    }
}

impl From<wire::ObjectRow> for Object {
    fn from(row: wire::ObjectRow) -> Object {
        Object {
            sync: sync_word(row.sync),
            health: health_word(row.health),
            group: row.group,
            version: row.version,
            kind: row.kind,
            namespace: row.namespace,
            name: row.name,
            message: row.message,
            drifted_fields: row.drifted_fields,
            drifted_by: row.drifted_by,
            commit: row.commit,
            owner: row.owner,
        }
    }
}

impl Object {
    /// `Kind/namespace/name`, as `owner` names it.
    pub fn path(&self) -> String {
        let parts = [self.kind.as_str(), self.namespace.as_str(), self.name.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<&str>>().join("/")
    }
}

impl Row for App {
    const KIND: &'static str = "App";

    fn name(&self) -> String {
        format!("app/{}", self.name)
    }

    fn headers(wide: bool) -> &'static [&'static str] {
        if wide {
            &[
                "NAME",
                "SYNC",
                "HEALTH",
                "HEALTHY",
                "COMMIT",
                "HEARD",
                "POLICY",
                "SOURCE",
                "NAMESPACE",
                "REVISION",
                "PATH",
                "MESSAGE",
            ]
        } else {
            &["NAME", "SYNC", "HEALTH", "HEALTHY", "COMMIT", "HEARD", "MESSAGE"]
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let mut cells = vec![
            Cell::plain(&self.name),
            Cell::state(&self.sync),
            Cell::state(&self.health),
            Cell::share(self.instances_healthy, self.instances_total),
            Cell::commit(&self.commit),
            Cell::age(self.heard_ago_ms),
        ];
        if wide {
            cells.extend([
                Cell::plain(&self.policy),
                Cell::plain(&self.source),
                Cell::plain(&self.namespace),
                Cell::plain(&self.revision),
                Cell::plain(&self.path),
            ]);
        }
        cells.push(Cell { text: self.message(), ..Cell::plain("") });
        cells
    }
}

impl Row for Instance {
    const KIND: &'static str = "Instance";

    fn name(&self) -> String {
        format!("instance/{}/{}", self.app, self.cluster)
    }

    fn headers(wide: bool) -> &'static [&'static str] {
        if wide {
            &[
                "CLUSTER",
                "SYNC",
                "HEALTH",
                "COMMIT",
                "HEARD",
                "CONNECTION",
                "OBJECTS",
                "DRIFTED",
                "HEALED",
                "GOOD",
                "DIGEST",
                "MESSAGE",
            ]
        } else {
            &["CLUSTER", "SYNC", "HEALTH", "COMMIT", "HEARD", "MESSAGE"]
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let mut cells = vec![
            Cell::plain(&self.cluster),
            Cell::state(&self.sync),
            Cell::state(&self.health),
            Cell::plain(self.commits()),
            Cell::age(self.heard_ago_ms),
        ];
        if wide {
            cells.extend([
                Cell::state(&self.connection),
                Cell::plain(self.objects_total.to_string()),
                Cell::plain(self.drifted_now.to_string()),
                Cell::plain(self.drift_healed_total.to_string()),
                Cell::commit(&self.good_commit),
                Cell::commit(&self.running_digest),
            ]);
        }
        cells.push(Cell { text: self.message(), ..Cell::plain("") });
        cells
    }
}
