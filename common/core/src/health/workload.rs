//! Workloads: what controllers write about their pods, and pods themselves.

use super::cause::{Cause, cause_of_message, cause_of_pod, failing_containers};
use super::fields::{condition, conditions, is_unobserved, list, number, replicas, text};
use super::{Health, Judgement};
use crate::object::stamp;
use crate::time::{At, Span};
use alloc::format;
use alloc::string::String;
use serde_json::Value;

/// How long a pod may be unschedulable before that is named: until then the scheduler may be catching up. From kstatus.
const SCHEDULING_GRACE: Span = Span::secs(15);

fn progressing(message: impl AsRef<str>) -> Judgement {
    Judgement::new(Health::Progressing, message)
}

fn healthy() -> Judgement {
    Judgement::new(Health::Healthy, "")
}

const UNOBSERVED: &str = "waiting for the controller to see the new spec";

pub(super) fn deployment(object: &Value) -> Judgement {
    if object.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Judgement::new(Health::Suspended, "paused");
    }
    if is_unobserved(object) {
        return progressing(UNOBSERVED);
    }
    // Quota and admission refuse pods long before the deadline passes; that cause is better than the deadline.
    let refused = condition(object, "ReplicaFailure").filter(super::fields::Condition::is_true);
    let refusal = refused.and_then(|refused| cause_of_message(refused.message));
    if let Some(late) = condition(object, "Progressing").filter(|it| it.reason == "ProgressDeadlineExceeded")
    {
        let message = refused.map_or(late.words(), |refused| refused.message);
        return Judgement::new(Health::Degraded, message)
            .because(refusal.or(Some(Cause::ProgressDeadlineExceeded)));
    }
    let (wanted, updated) = (replicas(object), number(object, "/status/updatedReplicas"));
    let (all, available) = (number(object, "/status/replicas"), number(object, "/status/availableReplicas"));
    let message = if updated < wanted {
        format!("{updated} of {wanted} new replicas are there")
    } else if all > updated {
        format!("{} old replicas are still there", all - updated)
    } else if available < updated {
        format!("{available} of {updated} updated replicas are available")
    } else {
        return healthy();
    };
    match refused {
        Some(refused) => progressing(refused.words()).because(refusal),
        None => progressing(message),
    }
}

pub(super) fn stateful_set(object: &Value) -> Judgement {
    if number(object, "/status/observedGeneration") == 0 || is_unobserved(object) {
        return progressing(UNOBSERVED);
    }
    let (wanted, ready) = (replicas(object), number(object, "/status/readyReplicas"));
    if ready < wanted {
        return progressing(format!("{ready} of {wanted} replicas are ready"));
    }
    let strategy = text(object, "/spec/updateStrategy/type");
    if strategy == "OnDelete" {
        return healthy();
    }
    let partition = object.pointer("/spec/updateStrategy/rollingUpdate/partition").and_then(Value::as_i64);
    if object.pointer("/spec/updateStrategy/rollingUpdate").is_some_and(Value::is_object) {
        let (target, updated) =
            (wanted - partition.unwrap_or_default(), number(object, "/status/updatedReplicas"));
        if partition.is_some() && updated < target {
            return progressing(format!("{updated} of {target} replicas are updated"));
        }
        return healthy();
    }
    if text(object, "/status/updateRevision") != text(object, "/status/currentRevision") {
        return progressing("replicas of the old revision are still there");
    }
    healthy()
}

pub(super) fn daemon_set(object: &Value) -> Judgement {
    if is_unobserved(object) {
        return progressing(UNOBSERVED);
    }
    if text(object, "/spec/updateStrategy/type") == "OnDelete" {
        return healthy();
    }
    let wanted = number(object, "/status/desiredNumberScheduled");
    let updated = number(object, "/status/updatedNumberScheduled");
    let available = number(object, "/status/numberAvailable");
    if updated < wanted {
        return progressing(format!("{updated} of {wanted} pods are updated"));
    }
    if available < wanted {
        return progressing(format!("{available} of {wanted} pods are available"));
    }
    healthy()
}

pub(super) fn replica_set(object: &Value) -> Judgement {
    if is_unobserved(object) {
        return progressing(UNOBSERVED);
    }
    if let Some(refused) = condition(object, "ReplicaFailure").filter(super::fields::Condition::is_true) {
        return Judgement::new(Health::Degraded, refused.words()).because(cause_of_message(refused.message));
    }
    let (wanted, available) = (replicas(object), number(object, "/status/availableReplicas"));
    if available < wanted {
        return progressing(format!("{available} of {wanted} replicas are available"));
    }
    healthy()
}

pub(super) fn job(object: &Value) -> Judgement {
    let mut judgement = progressing("running");
    for (kind, condition) in conditions(object).filter(|(_, condition)| condition.is_true()) {
        match kind {
            "Failed" => {
                let cause = match condition.reason {
                    "BackoffLimitExceeded" => Some(Cause::BackoffLimitExceeded),
                    "DeadlineExceeded" => Some(Cause::DeadlineExceeded),
                    _ => None,
                };
                return Judgement::new(Health::Degraded, condition.words()).because(cause);
            }
            "Complete" => judgement = Judgement::new(Health::Healthy, condition.words()),
            "Suspended" => judgement = Judgement::new(Health::Suspended, condition.words()),
            _ => {}
        }
    }
    judgement
}

pub(super) fn cron_job(object: &Value) -> Judgement {
    if object.pointer("/spec/suspend") == Some(&Value::Bool(true)) {
        return Judgement::new(Health::Healthy, "suspended");
    }
    if list(object, "/status/active").next().is_some() {
        return Judgement::new(Health::Healthy, "a job is running");
    }
    let scheduled = stamp::at_of(text(object, "/status/lastScheduleTime"));
    let succeeded = stamp::at_of(text(object, "/status/lastSuccessfulTime"));
    if scheduled.is_some() && succeeded < scheduled {
        return Judgement::new(Health::Degraded, "the last job did not succeed");
    }
    healthy()
}

pub(super) fn pod(object: &Value, now: At) -> Judgement {
    let restart = text(object, "/spec/restartPolicy");
    let always = restart == "Always" || restart.is_empty();
    let (cause, words) = cause_of_pod(object).unzip();
    let words = words.unwrap_or_default();
    if always && failing_containers(object).next().is_some() {
        return Judgement::new(Health::Degraded, words).because(cause);
    }
    match text(object, "/status/phase") {
        "Succeeded" => healthy(),
        "Failed" => {
            let message = [text(object, "/status/message"), text(object, "/status/reason"), &words]
                .into_iter()
                .find(|text| !text.is_empty());
            Judgement::new(Health::Degraded, message.unwrap_or("the pod failed")).because(cause)
        }
        "Pending" | "" => {
            let early = cause == Some(Cause::Unschedulable) && age(object, now) <= SCHEDULING_GRACE;
            progressing(words).because(if early { None } else { cause })
        }
        "Running" if !always => progressing("running").because(cause),
        "Running" => running(object, cause, &words),
        phase => Judgement::new(Health::Unknown, format!("phase {phase}")).because(cause),
    }
}

fn running(object: &Value, cause: Option<Cause>, words: &str) -> Judgement {
    if condition(object, "Ready").is_some_and(|ready| ready.is_true()) {
        return healthy();
    }
    let died = list(object, "/status/containerStatuses")
        .find(|status| status.pointer("/lastState/terminated").is_some_and(Value::is_object));
    match died {
        Some(status) => {
            let name = text(status, "/name");
            let code = number(status, "/lastState/terminated/exitCode");
            let message = if words.is_empty() {
                format!("container {name} ended before with code {code} and is not ready")
            } else {
                String::from(words)
            };
            Judgement::new(Health::Degraded, message).because(cause)
        }
        None => progressing("not ready").because(cause),
    }
}

fn age(object: &Value, now: At) -> Span {
    stamp::at_of(text(object, "/metadata/creationTimestamp")).map_or(Span(0), |created| now.since(created))
}
