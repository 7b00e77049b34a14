//! kstatus' rules for every kind that has none of its own (`reference/application-sync-health.md` 4B.1).

use super::cause::cause_of_message;
use super::fields::{condition, number};
use super::{Health, Judgement};
use serde_json::Value;

/// The rules that come before any kind's own: generation, `Reconciling`, `Stalled`.
pub(super) fn early(object: &Value) -> Option<Judgement> {
    let observed = object.pointer("/status/observedGeneration").and_then(Value::as_i64);
    if observed.is_some_and(|observed| observed != number(object, "/metadata/generation")) {
        return Some(Judgement::new(Health::Progressing, "waiting for the controller to see the new spec"));
    }
    if let Some(reconciling) = condition(object, "Reconciling").filter(super::fields::Condition::is_true) {
        return Some(Judgement::new(Health::Progressing, reconciling.words()));
    }
    let stalled = condition(object, "Stalled").filter(super::fields::Condition::is_true)?;
    let cause = cause_of_message(stalled.message);
    Some(Judgement::new(Health::Degraded, stalled.words()).because(cause))
}

/// Nothing speaks against it.
pub(super) fn current() -> Judgement {
    Judgement::new(Health::Healthy, "")
}

/// All generic rules; `Ready` decides at the end.
pub(super) fn judge(object: &Value) -> Judgement {
    early(object).unwrap_or_else(|| match condition(object, "Ready") {
        Some(ready) if !ready.is_true() => Judgement::new(Health::Progressing, ready.words()),
        _ => current(),
    })
}
