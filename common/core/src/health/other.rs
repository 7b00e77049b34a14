//! Kinds without pods: claims, services, ingresses, autoscalers, definitions, API services.

use super::fields::{condition, conditions, text};
use super::{Health, Judgement};
use alloc::format;
use serde_json::Value;

pub(super) fn claim(object: &Value) -> Judgement {
    match text(object, "/status/phase") {
        "Bound" => Judgement::new(Health::Healthy, ""),
        "Lost" => Judgement::new(Health::Degraded, "the volume is lost"),
        "Pending" | "" => Judgement::new(Health::Progressing, "waiting for a volume"),
        phase => Judgement::new(Health::Unknown, format!("phase {phase}")),
    }
}

pub(super) fn service(object: &Value) -> Judgement {
    if text(object, "/spec/type") == "LoadBalancer" && !has_address(object) {
        return Judgement::new(Health::Progressing, "waiting for the load balancer's address");
    }
    Judgement::new(Health::Healthy, "")
}

pub(super) fn ingress(object: &Value) -> Judgement {
    if has_address(object) {
        return Judgement::new(Health::Healthy, "");
    }
    Judgement::new(Health::Progressing, "waiting for the ingress controller's address")
}

fn has_address(object: &Value) -> bool {
    object
        .pointer("/status/loadBalancer/ingress")
        .and_then(Value::as_array)
        .is_some_and(|addresses| !addresses.is_empty())
}

pub(super) fn autoscaler(object: &Value) -> Judgement {
    let mut able = None;
    for (kind, condition) in conditions(object) {
        if !condition.is_true() && is_failing(kind, condition.reason) {
            return Judgement::new(Health::Degraded, condition.words());
        }
        if condition.is_true() && matches!(kind, "AbleToScale" | "ScalingLimited") {
            able = Some(condition);
        }
    }
    match able {
        Some(condition) => Judgement::new(Health::Healthy, condition.words()),
        None => Judgement::new(Health::Progressing, "waiting for the autoscaler"),
    }
}

/// Reasons with which an autoscaler says that it cannot work.
fn is_failing(kind: &str, reason: &str) -> bool {
    match kind {
        "AbleToScale" => matches!(reason, "FailedGetScale" | "FailedUpdateScale"),
        "ScalingActive" => {
            matches!(reason, "InvalidSelector" | "InvalidMetricSourceType")
                || reason.strip_prefix("FailedGet").is_some_and(|rest| rest.ends_with("Metric"))
        }
        _ => false,
    }
}

pub(super) fn definition(object: &Value) -> Judgement {
    if let Some(names) = condition(object, "NamesAccepted").filter(super::fields::Condition::is_false) {
        return Judgement::new(Health::Degraded, names.words());
    }
    match condition(object, "Established") {
        Some(established) if established.is_true() => Judgement::new(Health::Healthy, ""),
        Some(established) if established.is_false() && established.reason != "Installing" => {
            Judgement::new(Health::Degraded, established.words())
        }
        _ => Judgement::new(Health::Progressing, "waiting for the definition to be established"),
    }
}

pub(super) fn api_service(object: &Value) -> Judgement {
    match condition(object, "Available") {
        Some(available) if available.is_true() => Judgement::new(Health::Healthy, available.words()),
        Some(available) => Judgement::new(Health::Progressing, available.words()),
        None => Judgement::new(Health::Progressing, "waiting for the API service"),
    }
}
