//! What the API server refuses, and whether asking again may help.

use http::StatusCode;
use kube::core::Status;
use std::fmt;
use std::time::Duration;
use taffrail_core::health::{Cause, cause_of_message};

/// Longest message kept of a server's answer, in bytes: a policy's message and the fields it names.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// There is no such object.
    NotFound,
    /// Another writer was faster, or the object is not the one that was meant.
    Conflict,
    /// The object breaks its schema or a rule of its kind.
    Invalid,
    /// Our identity may not do this.
    Forbidden,
    /// A policy, a webhook or an admission plugin refuses the object.
    AdmissionDenied,
    /// A quota is used up.
    Quota,
    /// The kind is not served.
    MissingKind,
    /// The namespace does not exist.
    NamespaceMissing,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// A field that can never change was changed.
    Immutable,
    /// The server asks for fewer requests.
    TooMany {
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server, or a webhook behind it, cannot be reached or failed.
    Unavailable,
    /// No answer in time: whether the request was carried out is not known.
    Timeout,
    /// The version asked for is no longer kept: list again.
    Gone,
    /// Something else.
    Other,
}

impl Kind {
    /// Whether a watch that fails like this shows nothing until somebody changes the cluster.
    pub const fn is_lasting(self) -> bool {
        matches!(self, Kind::MissingKind | Kind::NotFound | Kind::Forbidden)
    }

    /// Whether the same request may succeed later without anybody changing the object.
    pub const fn is_retriable(self) -> bool {
        matches!(
            self,
            Kind::Conflict
                | Kind::Quota
                | Kind::MissingKind
                | Kind::NamespaceMissing
                | Kind::NamespaceTerminating
                | Kind::TooMany { .. }
                | Kind::Unavailable
                | Kind::Timeout
                | Kind::Gone
        )
    }
}

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action}: {message}")]
pub struct ApiError {
    /// What was tried: `apply Deployment.apps web/payments`.
    pub action: String,
    /// What the refusal means.
    pub kind: Kind,
    /// The server's words, bounded; for a Secret only what holds no value.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retriable: bool,
    /// Fields that the server names, with the manager that owns each in a conflict of ownership.
    pub fields: Vec<Field>,
}

/// A field that the server names in a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The path, in the server's writing.
    pub path: String,
    /// In a conflict of ownership: the manager that owns it.
    pub manager: Option<String>,
}

/// Whether an answer may be repeated in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// It may.
    Open,
    /// The request held a Secret: the server's words may quote its values.
    Secret,
}

impl ApiError {
    /// An error found before or without an answer.
    pub fn new(action: impl Into<String>, kind: Kind, message: impl fmt::Display) -> ApiError {
        let message = bounded(&message.to_string());
        ApiError { action: action.into(), kind, message, retriable: kind.is_retriable(), fields: Vec::new() }
    }

    /// The named cause for health, if the refusal has one.
    pub fn cause(&self) -> Option<Cause> {
        match self.kind {
            Kind::AdmissionDenied => Some(Cause::AdmissionDenied),
            Kind::Quota => Some(Cause::QuotaExceeded),
            Kind::MissingKind => Some(Cause::MissingCrd),
            _ => None,
        }
    }

    /// From an answer with an error status. `body` is the `Status` object, or any text.
    pub(super) fn of_answer(
        action: &str,
        code: StatusCode,
        retry_after: Option<Duration>,
        body: &[u8],
        secrecy: Secrecy,
    ) -> ApiError {
        let status = serde_json::from_slice::<Status>(body).ok().filter(|status| !status.message.is_empty());
        let text = String::from_utf8_lossy(&body[..body.len().min(MESSAGE_BYTES_MAX)]).into_owned();
        let status = status.unwrap_or_else(|| Status::failure(&text, "").with_code(code.as_u16()));
        ApiError::of_status(action, &Status { code: code.as_u16(), ..status }, retry_after, secrecy)
    }

    /// From the server's `Status`.
    pub(super) fn of_status(
        action: &str,
        status: &Status,
        retry_after: Option<Duration>,
        secrecy: Secrecy,
    ) -> ApiError {
        let details = status.details.as_ref();
        let asked = details.map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
        let retry_after = retry_after.or(asked.map(|seconds| Duration::from_secs(u64::from(seconds))));
        let kind = classify(status, retry_after);
        let fields: Vec<Field> = details
            .into_iter()
            .flat_map(|details| &details.causes)
            .filter(|cause| !cause.field.is_empty())
            .map(|cause| Field { path: cause.field.clone(), manager: manager_of(cause) })
            .collect();
        let message = match secrecy {
            Secrecy::Open => status.message.clone(),
            Secrecy::Secret => {
                let paths: Vec<&str> = fields.iter().map(|field| field.path.as_str()).collect();
                format!(
                    "{} ({}), words withheld because they may quote a Secret; fields: {}",
                    if status.reason.is_empty() { "refused" } else { &status.reason },
                    status.code,
                    paths.join(", ")
                )
            }
        };
        let retriable =
            kind.is_retriable() || status.code == 401 || status.code >= 500 && kind == Kind::Other;
        ApiError { retriable, fields, ..ApiError::new(action, kind, message) }
    }

    /// From the client's error: a `Status`, or no answer at all.
    pub(super) fn of_client(action: &str, error: &kube::Error, secrecy: Secrecy) -> ApiError {
        match error {
            kube::Error::Api(status) => ApiError::of_status(action, status, None, secrecy),
            kube::Error::SerdeError(_) => ApiError::new(action, Kind::Other, "the answer makes no sense"),
            kube::Error::BuildRequest(_) => ApiError::new(action, Kind::Invalid, chain(error)),
            _ => ApiError::new(action, Kind::Unavailable, chain(error)),
        }
    }
}

/// What an error and its causes say, each once, for errors that come from a connection and hold no object.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        next = cause.source();
    }
    bounded(&words)
}

fn bounded(message: &str) -> String {
    let message = message.trim();
    if message.len() <= MESSAGE_BYTES_MAX {
        return message.to_owned();
    }
    format!("{}...", &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)])
}

fn classify(status: &Status, retry_after: Option<Duration>) -> Kind {
    let message = status.message.as_str();
    if let Some(refused) = refused_by_admission(message) {
        return refused;
    }
    match status.code {
        404 => absence(status),
        409 => Kind::Conflict,
        410 => Kind::Gone,
        403 if has_cause(status, "NamespaceTerminating")
            || message.contains("because it is being terminated") =>
        {
            Kind::NamespaceTerminating
        }
        // The authorizer names the user and the verb; whoever else forbids is an admission plugin.
        403 if message.contains("is forbidden: ") && !message.contains("is forbidden: User ") => {
            Kind::AdmissionDenied
        }
        401 | 403 => Kind::Forbidden,
        400 | 413 | 422 if is_immutable(message) => Kind::Immutable,
        400 | 413 | 415 | 422 => Kind::Invalid,
        429 => Kind::TooMany { retry_after },
        504 => Kind::Timeout,
        500 if is_unreadable(message) => Kind::Invalid,
        500 if status.reason == "ServerTimeout" || status.reason == "Timeout" => Kind::Timeout,
        500..=599 => Kind::Unavailable,
        _ => Kind::Other,
    }
}

fn refused_by_admission(message: &str) -> Option<Kind> {
    match cause_of_message(message)? {
        Cause::QuotaExceeded => Some(Kind::Quota),
        Cause::AdmissionDenied => Some(Kind::AdmissionDenied),
        Cause::MissingCrd => Some(Kind::MissingKind),
        _ => None,
    }
}

/// What a 404 says is not there: the object, its namespace, or the whole kind.
fn absence(status: &Status) -> Kind {
    let (kind, name) = status.details.as_ref().map_or(("", ""), |details| (&details.kind, &details.name));
    match (kind, name) {
        ("namespaces", name) if !name.is_empty() && status.message.starts_with("namespaces ") => {
            Kind::NamespaceMissing
        }
        (_, "") => Kind::MissingKind,
        _ => Kind::NotFound,
    }
}

fn has_cause(status: &Status, reason: &str) -> bool {
    status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == reason)
}

/// Objects that do not fit their schema are answered by server-side apply as if the server were broken.
fn is_unreadable(message: &str) -> bool {
    ["failed to create typed", "field not declared", "unable to convert unstructured object"]
        .iter()
        .any(|mark| message.contains(mark))
}

fn is_immutable(message: &str) -> bool {
    [
        "field is immutable",
        "is immutable",
        "may not change once set",
        "updates to statefulset spec for fields other than",
    ]
    .iter()
    .any(|mark| message.contains(mark))
}

/// The manager in `conflict with "kubectl-edit" using apps/v1`.
fn manager_of(cause: &kube::core::response::StatusCause) -> Option<String> {
    let words =
        cause.message.strip_prefix("conflict with ").filter(|_| cause.reason == "FieldManagerConflict")?;
    Some(words.split('"').nth(1)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn refused(code: u16, reason: &str, message: &str, details: &Value) -> ApiError {
        let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
            "reason": reason, "details": details, "code": code});
        let code = StatusCode::from_u16(code).unwrap();
        ApiError::of_answer("apply it", code, None, body.to_string().as_bytes(), Secrecy::Open)
    }

    #[test]
    fn refusals_are_told_apart_by_what_servers_say() {
        let none = || json!({});
        let named = |kind: &str| json!({"kind": kind, "name": "it"});
        let rows = [
            (404, "NotFound", "configmaps \"it\" not found", named("configmaps"), Kind::NotFound),
            (404, "NotFound", "namespaces \"it\" not found", named("namespaces"), Kind::NamespaceMissing),
            (404, "NotFound", "the server could not find the requested resource", none(), Kind::MissingKind),
            (409, "Conflict", "the object has been modified", named("configmaps"), Kind::Conflict),
            (409, "AlreadyExists", "configmaps \"it\" already exists", named("configmaps"), Kind::Conflict),
            (422, "Invalid", "spec.replicas: Invalid value: -1: must be greater", none(), Kind::Invalid),
            (
                422,
                "Invalid",
                "spec.clusterIP: Invalid value: \"\": field is immutable",
                none(),
                Kind::Immutable,
            ),
            (400, "BadRequest", "strict decoding error", none(), Kind::Invalid),
            (
                500,
                "",
                "failed to create typed patch object: .spec.x: field not declared in schema",
                none(),
                Kind::Invalid,
            ),
            (
                500,
                "",
                "failed to convert new object to proper version: unable to convert unstructured object to /v1, Kind=Secret",
                none(),
                Kind::Invalid,
            ),
            (500, "", "failed to convert new object: conversion webhook failed", none(), Kind::Unavailable),
        ];
        for (code, reason, message, details, kind) in rows {
            assert_eq!(refused(code, reason, message, &details).kind, kind, "{message}");
        }
    }

    #[test]
    fn whoever_forbids_is_told_from_who_is_busy() {
        let none = || json!({});
        let rows = [
            (
                403,
                "Forbidden",
                "pods \"it\" is forbidden: User \"a\" cannot patch resource \"pods\"",
                none(),
                Kind::Forbidden,
            ),
            (
                403,
                "Forbidden",
                "pods \"it\" is forbidden: exceeded quota: q, requested: pods=1",
                none(),
                Kind::Quota,
            ),
            (
                403,
                "Forbidden",
                "pods \"it\" is forbidden: violates PodSecurity \"restricted:latest\"",
                none(),
                Kind::AdmissionDenied,
            ),
            (
                403,
                "Forbidden",
                "pods \"it\" is forbidden: maximum cpu usage per Container is 1",
                none(),
                Kind::AdmissionDenied,
            ),
            (
                403,
                "Forbidden",
                "admission webhook \"w\" denied the request: no",
                none(),
                Kind::AdmissionDenied,
            ),
            (
                400,
                "",
                "admission webhook \"w\" denied the request without explanation",
                none(),
                Kind::AdmissionDenied,
            ),
            (
                422,
                "Invalid",
                "deployments.apps \"it\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
                none(),
                Kind::AdmissionDenied,
            ),
            (
                403,
                "Forbidden",
                "configmaps \"it\" is forbidden: unable to create new content in namespace web because it is being terminated",
                json!({"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]}),
                Kind::NamespaceTerminating,
            ),
            (
                500,
                "InternalError",
                "Internal error occurred: failed calling webhook \"w\": timeout",
                none(),
                Kind::Unavailable,
            ),
            (504, "Timeout", "request did not complete within requested timeout", none(), Kind::Timeout),
            (
                503,
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
                none(),
                Kind::Unavailable,
            ),
            (410, "Expired", "too old resource version", none(), Kind::Gone),
            (401, "Unauthorized", "Unauthorized", none(), Kind::Forbidden),
            (418, "", "I am a teapot", none(), Kind::Other),
        ];
        for (code, reason, message, details, kind) in rows {
            assert_eq!(refused(code, reason, message, &details).kind, kind, "{message}");
        }
    }

    #[test]
    fn a_server_that_is_busy_is_left_alone_for_as_long_as_it_says() {
        let asked = refused(429, "TooManyRequests", "slow down", &json!({"retryAfterSeconds": 7}));
        assert_eq!(asked.kind, Kind::TooMany { retry_after: Some(Duration::from_secs(7)) });
        assert!(asked.retriable);
    }

    #[test]
    fn retrying_is_for_what_may_go_away() {
        for (code, retriable) in
            [(401, true), (403, false), (404, true), (409, true), (422, false), (500, true), (503, true)]
        {
            assert_eq!(refused(code, "", "it", &json!({})).retriable, retriable, "{code}");
        }
    }

    #[test]
    fn a_conflict_names_managers_and_fields() {
        let cause = |manager: &str, field: &str| json!({"reason": "FieldManagerConflict", "message": format!("conflict with \"{manager}\" using apps/v1"), "field": field});
        let details =
            json!({"causes": [cause("kubectl-edit", ".spec.replicas"), cause("hpa", ".spec.paused")]});
        let error = refused(409, "Conflict", "Apply failed with 2 conflicts", &details);
        let managers: Vec<_> = error.fields.iter().map(|field| field.manager.as_deref()).collect();
        assert_eq!(managers, [Some("kubectl-edit"), Some("hpa")]);
        assert_eq!(error.fields[0].path, ".spec.replicas");
    }

    #[test]
    fn words_about_a_secret_are_withheld() {
        let body = json!({"message": "data[token]: Invalid value: \"hush\"", "reason": "Invalid", "code": 422,
            "details": {"causes": [{"reason": "FieldValueInvalid", "message": "hush", "field": "data[token]"}]}});
        let code = StatusCode::UNPROCESSABLE_ENTITY;
        let error = ApiError::of_answer("apply it", code, None, body.to_string().as_bytes(), Secrecy::Secret);
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        assert_eq!(error.kind, Kind::Invalid);
        assert!(error.message.contains("data[token]"));
        let error = ApiError::of_answer("apply it", StatusCode::BAD_REQUEST, None, b"hush", Secrecy::Secret);
        assert!(!format!("{error:?}").contains("hush"));
    }

    #[test]
    fn text_that_is_no_status_is_kept_in_bounds() {
        let error = ApiError::of_answer(
            "read it",
            StatusCode::NOT_FOUND,
            None,
            b"404 page not found\n",
            Secrecy::Open,
        );
        assert_eq!((error.kind, error.message.as_str()), (Kind::MissingKind, "404 page not found"));
        let long = "\u{e9}".repeat(5_000);
        let error =
            ApiError::of_answer("read it", StatusCode::BAD_GATEWAY, None, long.as_bytes(), Secrecy::Open);
        assert!(error.message.len() <= MESSAGE_BYTES_MAX + 3);
        assert_eq!(error.kind, Kind::Unavailable);
    }
}
