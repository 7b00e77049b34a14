//! Health of live objects: one of six words, a sentence, and a named cause where there is one.
//!
//! Known kinds follow Argo CD's table, all others kstatus' generic rules
//! (`reference/application-sync-health.md` 4A.6 and 4B.1). Nothing here reads anything: objects and the time come in.

mod cause;
mod fields;
mod generic;
mod other;
mod workload;

#[cfg(test)]
mod tests;

pub use cause::{Cause, cause_of_message, cause_of_pods};

use crate::object::key::group_of;
use crate::time::At;
use alloc::format;
use alloc::string::String;
use core::fmt;
use fields::{bounded, text};
use serde_json::Value;

/// Longest message of a judgement, in bytes: what fits a line of a terminal a few times over.
pub const MESSAGE_BYTES_MAX: usize = 512;

/// The six words, ordered so that the greatest is the worst (`reference/application-sync-health.md` 4A.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// It does what its spec asks.
    Healthy,
    /// It waits because somebody told it to.
    Suspended,
    /// It is on its way.
    Progressing,
    /// It is not in the cluster.
    Missing,
    /// It failed, or cannot get where it should.
    Degraded,
    /// Nothing can be said: it could not be read, or its status makes no sense.
    #[default]
    Unknown,
}

impl Health {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Health::Healthy => "Healthy",
            Health::Suspended => "Suspended",
            Health::Progressing => "Progressing",
            Health::Missing => "Missing",
            Health::Degraded => "Degraded",
            Health::Unknown => "Unknown",
        }
    }

    /// Reads the word; `None` for any other text.
    pub fn parse(text: &str) -> Option<Health> {
        use Health::{Degraded, Healthy, Missing, Progressing, Suspended, Unknown};
        [Healthy, Suspended, Progressing, Missing, Degraded, Unknown]
            .into_iter()
            .find(|health| health.as_str() == text)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// What is known about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The word.
    pub health: Health,
    /// Why, for people; empty where there is nothing to add. At most [`MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
    /// The named cause, if it can be told from this object alone. Pods tell more: [`cause_of_pods`].
    pub cause: Option<Cause>,
    /// Whether it counts for the app: kinds without a check do not, nor objects annotated to be ignored.
    pub counted: bool,
}

impl Judgement {
    /// A judgement that counts, its message cut to the bound.
    pub fn new(health: Health, message: impl AsRef<str>) -> Judgement {
        Judgement { health, message: bounded(message.as_ref()), cause: None, counted: true }
    }

    /// The same with a named cause.
    #[must_use]
    pub fn because(self, cause: Option<Cause>) -> Judgement {
        Judgement { cause, ..self }
    }

    /// An object that should be there and is not.
    pub fn missing() -> Judgement {
        Judgement::new(Health::Missing, "not in the cluster")
    }

    /// An object that could not be read.
    pub fn unread(why: impl AsRef<str>) -> Judgement {
        Judgement::new(Health::Unknown, why)
    }

    fn uncounted() -> Judgement {
        Judgement { counted: false, ..Judgement::new(Health::Healthy, "") }
    }
}

/// Judges a live object as the API server gave it, at the time `now`.
pub fn judge(object: &Value, now: At) -> Judgement {
    if text(object, "/metadata/annotations/argocd.argoproj.io~1ignore-healthcheck") == "true" {
        return Judgement::uncounted();
    }
    if object.pointer("/metadata/deletionTimestamp").is_some_and(|stamp| !stamp.is_null()) {
        return Judgement::new(Health::Progressing, pending_deletion(object));
    }
    match (group_of(text(object, "/apiVersion")), text(object, "/kind")) {
        ("apps", "Deployment") => workload::deployment(object),
        ("apps", "StatefulSet") => workload::stateful_set(object),
        ("apps", "DaemonSet") => workload::daemon_set(object),
        ("apps", "ReplicaSet") => workload::replica_set(object),
        ("batch", "Job") => workload::job(object),
        ("batch", "CronJob") => workload::cron_job(object),
        ("", "Pod") => workload::pod(object, now),
        ("", "PersistentVolumeClaim") => other::claim(object),
        ("", "Service") => other::service(object),
        ("networking.k8s.io" | "extensions", "Ingress") => other::ingress(object),
        ("autoscaling", "HorizontalPodAutoscaler") => other::autoscaler(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => other::definition(object),
        ("apiregistration.k8s.io", "APIService") => other::api_service(object),
        ("policy", "PodDisruptionBudget") => generic::early(object).unwrap_or_else(generic::current),
        (group, kind) if has_no_check(group, kind) => Judgement::uncounted(),
        _ => generic::judge(object),
    }
}

/// The worst of what counts; Healthy if nothing does.
pub fn worst<'a>(judgements: impl IntoIterator<Item = &'a Judgement>) -> Health {
    let counted = judgements.into_iter().filter(|judgement| judgement.counted);
    counted.map(|judgement| judgement.health).max().unwrap_or(Health::Healthy)
}

/// Health of an app from its direct objects, `None` standing for one that is not in the cluster.
///
/// Single missing objects do not count, because being out of sync tells it already; if there are objects and none is
/// live, the app is Missing.
pub fn of_app<'a>(objects: impl IntoIterator<Item = Option<&'a Judgement>>) -> Health {
    let (mut live, mut absent, mut health) = (false, false, Health::Healthy);
    for object in objects {
        match object {
            Some(judgement) if judgement.health == Health::Missing => absent = true,
            Some(judgement) => {
                live = true;
                health = health.max(if judgement.counted { judgement.health } else { Health::Healthy });
            }
            None => absent = true,
        }
    }
    if absent && !live { Health::Missing } else { health }
}

/// Kinds that are what they are as soon as they exist.
fn has_no_check(group: &str, kind: &str) -> bool {
    match group {
        "" => matches!(
            kind,
            "ConfigMap"
                | "Secret"
                | "ServiceAccount"
                | "Namespace"
                | "LimitRange"
                | "ResourceQuota"
                | "PersistentVolume"
                | "Endpoints"
                | "Event"
                | "PodTemplate"
        ),
        "rbac.authorization.k8s.io"
        | "admissionregistration.k8s.io"
        | "scheduling.k8s.io"
        | "storage.k8s.io"
        | "coordination.k8s.io"
        | "discovery.k8s.io"
        | "node.k8s.io"
        | "networking.k8s.io" => true,
        "apps" => kind == "ControllerRevision",
        _ => false,
    }
}

fn pending_deletion(object: &Value) -> String {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    match finalizers.and_then(|list| list.first()).and_then(Value::as_str) {
        Some(first) => format!("Pending deletion, waiting for finalizer {first}"),
        None => String::from("Pending deletion"),
    }
}
