//! Refusals, as the `Status` objects that Kubernetes answers with.

use serde_json::{Map, Value, json};

use super::kinds::Kind;

/// The reason of a refusal that is plain text.
pub(crate) const PAGE: &str = "page";

/// A refusal: HTTP code, reason, message and details.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// `None`: the answer has no details at all.
    pub(crate) details: Option<Map<String, Value>>,
    /// Seconds for the `Retry-After` header.
    pub(crate) retry_after: Option<u64>,
}

/// One field that makes an object invalid.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub(crate) reason: &'static str,
    pub(crate) field: String,
    pub(crate) message: String,
}

impl Cause {
    pub(crate) fn required(field: &str, why: &str) -> Cause {
        let message =
            if why.is_empty() { "Required value".to_owned() } else { format!("Required value: {why}") };
        Cause { reason: "FieldValueRequired", field: field.to_owned(), message }
    }

    pub(crate) fn invalid(field: &str, value: &Value, why: &str) -> Cause {
        Cause {
            reason: "FieldValueInvalid",
            field: field.to_owned(),
            message: format!("Invalid value: {value}: {why}"),
        }
    }

    pub(crate) fn forbidden(field: &str, why: &str) -> Cause {
        Cause { reason: "FieldValueForbidden", field: field.to_owned(), message: format!("Forbidden: {why}") }
    }
}

impl Status {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
        Status { code, reason, message: message.into(), details: None, retry_after: None }
    }

    /// Sets one detail.
    pub(crate) fn detail(&mut self, field: &str, value: Value) {
        self.details.get_or_insert_default().insert(field.to_owned(), value);
    }

    /// The same with details that say nothing, as refusals from before any object is known have them.
    pub(crate) fn bare(mut self) -> Status {
        self.details = Some(Map::new());
        self
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Status {
        for (field, value) in [("name", name), ("group", group), ("kind", kind)] {
            if !value.is_empty() {
                self.detail(field, json!(value));
            }
        }
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }

    pub(crate) fn no_such_path() -> Status {
        Status::new(404, "NotFound", "the server could not find the requested resource").bare()
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Status {
        Status::new(404, "NotFound", format!("{} {name:?} not found", kind.qualified_plural())).about(
            &kind.group,
            &kind.plural,
            name,
        )
    }

    pub(crate) fn namespace_not_found(name: &str) -> Status {
        Status::new(404, "NotFound", format!("namespaces {name:?} not found")).about("", "namespaces", name)
    }

    pub(crate) fn namespace_ends(kind: &Kind, name: &str, namespace: &str) -> Status {
        let message = format!(
            "{} {name:?} is forbidden: unable to create new content in namespace {namespace} because it is being terminated",
            kind.qualified_plural()
        );
        let mut status = Status::new(403, "Forbidden", message).about(&kind.group, &kind.plural, name);
        let cause = Cause {
            reason: "NamespaceTerminating",
            field: "metadata.namespace".to_owned(),
            message: format!("namespace {namespace} is being terminated"),
        };
        status.detail("causes", [cause_json(&cause)].into_iter().collect());
        status
    }

    /// A deletion that is bound to what the object is not.
    pub(crate) fn precondition(kind: &Kind, name: &str, why: &str) -> Status {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.qualified_kind());
        Status::new(409, "Conflict", message).about(&kind.group, &kind.kind, name)
    }

    /// An update of a custom resource that names no version.
    pub(crate) fn unversioned(kind: &Kind, name: &str) -> Status {
        let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
        let message =
            format!("{} {name:?} is invalid: {}: {}", kind.qualified_plural(), cause.field, cause.message);
        let mut status = Status::new(422, "Invalid", message).about(&kind.group, &kind.plural, name);
        status.detail("causes", [cause_json(&cause)].into_iter().collect());
        status
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Status {
        Status::new(409, "AlreadyExists", format!("{} {name:?} already exists", kind.qualified_plural()))
            .about(&kind.group, &kind.plural, name)
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Status {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.qualified_plural());
        Status::new(409, "Conflict", message).about(&kind.group, &kind.plural, name)
    }

    pub(crate) fn stale(kind: &Kind, name: &str) -> Status {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Status::conflict(kind, name, why)
    }

    /// A group that is not served at all is not even refused with a `Status`.
    pub(crate) fn no_such_page() -> Status {
        Status::new(404, PAGE, "404 page not found\n")
    }

    pub(crate) fn method_not_allowed() -> Status {
        Status::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .bare()
    }

    pub(crate) fn unsupported(message: &str) -> Status {
        Status::new(415, "UnsupportedMediaType", message)
    }

    pub(crate) fn bad_patch() -> Status {
        Status::new(422, "Invalid", "the server rejected our request due to an error in our request").bare()
    }

    pub(crate) fn expired(message: impl Into<String>) -> Status {
        Status::new(410, "Expired", message)
    }

    pub(crate) fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Status {
        let lines: Vec<String> =
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let mut lines = lines;
        lines.dedup();
        let text = match lines.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} {name:?} is invalid: {text}", kind.qualified_kind());
        let mut status = Status::new(422, "Invalid", message).about(&kind.group, &kind.kind, name);
        status.detail("causes", causes.iter().map(cause_json).collect());
        status
    }

    /// A server-side apply that meets fields of others.
    pub(crate) fn apply_conflict(message: String, causes: &[Cause]) -> Status {
        let mut status = Status::new(409, "Conflict", message);
        status.detail("causes", causes.iter().map(cause_json).collect());
        status
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut out = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            out["reason"] = json!(self.reason);
        }
        let mut details = self.details.clone();
        if let Some(seconds) = self.retry_after {
            details.get_or_insert_default().insert("retryAfterSeconds".to_owned(), json!(seconds));
        }
        if let Some(details) = details {
            out["details"] = Value::Object(details);
        }
        out
    }
}

fn cause_json(cause: &Cause) -> Value {
    json!({"reason": cause.reason, "message": cause.message, "field": cause.field})
}

/// The answer to a finished deletion.
pub(crate) fn success(kind: &Kind, name: &str, uid: &str) -> Value {
    let mut details = json!({"name": name, "kind": kind.plural, "uid": uid});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
