//! Reading fields of object trees: absent and null are the same, numbers are whole.

use super::MESSAGE_BYTES_MAX;
use alloc::string::{String, ToString};
use serde_json::Value;

/// A text, empty if absent.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A whole number, zero if absent.
pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// `spec.replicas`, one if absent.
pub(super) fn replicas(object: &Value) -> i64 {
    object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
}

/// Whether the controller has not yet seen the newest spec.
pub(super) fn is_unobserved(object: &Value) -> bool {
    number(object, "/metadata/generation") > number(object, "/status/observedGeneration")
}

/// Members of a list, none if absent.
pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// One entry of `status.conditions`.
#[derive(Clone, Copy)]
pub(super) struct Condition<'a> {
    pub(super) status: &'a str,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
}

impl Condition<'_> {
    pub(super) fn is_true(&self) -> bool {
        self.status == "True"
    }

    pub(super) fn is_false(&self) -> bool {
        self.status == "False"
    }

    /// The message, or the reason if there is none.
    pub(super) fn words(&self) -> &str {
        if self.message.is_empty() { self.reason } else { self.message }
    }
}

/// The condition of a type.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<Condition<'a>> {
    list(object, "/status/conditions").find(|condition| text(condition, "/type") == kind).map(read)
}

/// All conditions with their types.
pub(super) fn conditions(object: &Value) -> impl Iterator<Item = (&str, Condition<'_>)> {
    list(object, "/status/conditions").map(|condition| (text(condition, "/type"), read(condition)))
}

fn read(condition: &Value) -> Condition<'_> {
    Condition {
        status: text(condition, "/status"),
        reason: text(condition, "/reason"),
        message: text(condition, "/message"),
    }
}

/// A message on one line, cut at a character's border to [`MESSAGE_BYTES_MAX`] bytes.
pub(super) fn bounded(message: &str) -> String {
    let message = message.trim();
    if message.len() <= MESSAGE_BYTES_MAX {
        return message.replace(['\n', '\r'], " ");
    }
    let mark = "...";
    let cut = message.floor_char_boundary(MESSAGE_BYTES_MAX - mark.len());
    message[..cut].to_string().replace(['\n', '\r'], " ") + mark
}
