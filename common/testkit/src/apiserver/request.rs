//! A request read: which verb, which object, which wishes.

use std::time::Duration;

use http::{HeaderMap, Method, Uri, header};
use serde_json::Value;

use super::delete::{Deletion, Propagation};
use super::faults::Seen;
use super::kinds::Kinds;
use super::patch::Dialect;
use super::read::{Form, Listing};
use super::select::Selector;
use super::state::{How, Target, now};
use super::status::{Cause, Status};

/// What a request wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch(Dialect),
    Apply,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch(_) => "patch",
            Verb::Apply => "apply",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }
}

/// The parameters of a URL.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(uri: &Uri) -> Query {
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let decode = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(name), unescape(value))
        };
        Query(pairs.map(decode).collect())
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), "true" | "1")
    }
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = &tail[2..];
            }
            (b'+', ..) => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A request to an object or a collection.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) verb: Verb,
    pub(crate) target: Target,
    pub(crate) query: Query,
    pub(crate) form: Form,
    pub(crate) how: How,
}

impl Asked {
    /// # Errors
    /// 404 for an unknown path, 405 for a method that it has not, 400, 415 and 422 for parameters that do not fit.
    pub(crate) fn parse(
        kinds: &Kinds,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Asked, Status> {
        let target = find_target(kinds, uri.path())?;
        let query = Query::parse(uri);
        let verb = find_verb(method, &target, &query, headers)?;
        let text = |name: header::HeaderName| {
            headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        let form = if text(header::ACCEPT).contains("as=PartialObjectMetadata") {
            Form::Metadata
        } else {
            Form::Whole
        };
        let manager = match query.get("fieldManager") {
            "" => text(header::USER_AGENT).split('/').next().unwrap_or_default(),
            manager => manager,
        };
        if verb == Verb::Apply && query.get("fieldManager").is_empty() {
            return Err(bad_option(
                "fieldManager",
                "FieldValueRequired",
                "Required value: is required for apply patch",
            ));
        }
        if matches!(verb, Verb::Patch(_)) && !query.get("force").is_empty() {
            let why = "Forbidden: may not be specified for non-apply patch";
            return Err(bad_option("force", "FieldValueForbidden", why));
        }
        let manager: String =
            if manager.is_empty() { "unknown".to_owned() } else { manager.chars().take(128).collect() };
        let how = How {
            manager,
            dry_run: query.get("dryRun") == "All",
            strict: query.get("fieldValidation") == "Strict",
            force: query.flag("force"),
            now: now(),
        };
        Ok(Asked { verb, target, query, form, how })
    }

    pub(crate) fn seen(&self, headers: &HeaderMap) -> Seen {
        let impersonated =
            headers.get("impersonate-user").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let target = &self.target;
        Seen {
            verb: self.verb.name().to_owned(),
            group: target.kind.group.clone(),
            resource: target.kind.plural.clone(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            subresource: target.subresource.clone(),
            impersonated,
            manager: self.how.manager.clone(),
            dry_run: self.how.dry_run,
        }
    }

    /// # Errors
    /// 400 if a selector cannot be read.
    pub(crate) fn selector(&self) -> Result<Selector, Status> {
        Selector::parse(&self.target.kind, self.query.get("labelSelector"), self.query.get("fieldSelector"))
    }

    /// # Errors
    /// 400 if a parameter cannot be read.
    pub(crate) fn listing(&self) -> Result<Listing, Status> {
        let limit = match self.query.get("limit") {
            "" => 0,
            text => text.parse().map_err(|_| Status::bad_request(format!("invalid limit {text:?}")))?,
        };
        let version = self.query.get("resourceVersion");
        Ok(Listing {
            selector: self.selector()?,
            limit,
            continues: self.query.get("continue").to_owned(),
            resource_version: version.to_owned(),
            exact: self.query.get("resourceVersionMatch") == "Exact",
        })
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.query.get("timeoutSeconds").parse().ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }

    /// The wishes of a deletion, from its body and the URL.
    ///
    /// # Errors
    /// 422 for a way of propagation that there is not.
    pub(crate) fn deletion(&self, body: &Value) -> Result<Deletion, Status> {
        let text = |field: &str| body[field].as_str().unwrap_or_else(|| self.query.get(field)).to_owned();
        let propagation = match text("propagationPolicy").as_str() {
            "" => match body["orphanDependents"].as_bool() {
                Some(true) => Some(Propagation::Orphan),
                Some(false) => Some(Propagation::Background),
                None => None,
            },
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            "Orphan" => Some(Propagation::Orphan),
            other => return Err(bad_propagation(other)),
        };
        let conditions = &body["preconditions"];
        let condition = |field: &str| conditions[field].as_str().map(str::to_owned);
        let dry = body["dryRun"].as_array().is_some_and(|list| !list.is_empty());
        Ok(Deletion {
            propagation,
            uid: condition("uid"),
            resource_version: condition("resourceVersion"),
            dry_run: dry || self.how.dry_run,
        })
    }
}

fn bad_propagation(given: &str) -> Status {
    let why = format!(
        "Unsupported value: {given:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
    );
    let text = format!("DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: {why}");
    let mut status = Status::new(422, "Invalid", text);
    let cause = serde_json::json!([{"reason": "FieldValueNotSupported", "message": why, "field": "propagationPolicy"}]);
    status.detail("causes", cause);
    status.detail("group", serde_json::json!("meta.k8s.io"));
    status.detail("kind", serde_json::json!("DeleteOptions"));
    status
}

fn bad_option(field: &str, reason: &'static str, message: &str) -> Status {
    let text = format!("PatchOptions.meta.k8s.io \"\" is invalid: {field}: {message}");
    let mut status = Status::new(422, "Invalid", text);
    let cause = Cause { reason, field: field.to_owned(), message: message.to_owned() };
    let causes =
        serde_json::json!([{"reason": cause.reason, "message": cause.message, "field": cause.field}]);
    status.detail("causes", causes);
    status.detail("group", serde_json::json!("meta.k8s.io"));
    status.detail("kind", serde_json::json!("PatchOptions"));
    status
}

fn find_target(kinds: &Kinds, path: &str) -> Result<Target, Status> {
    let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(unescape).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        ["apis", group] => return Err(kinds.unknown(group)),
        _ => return Err(Status::no_such_path()),
    };
    let own = matches!(rest, ["namespaces", _] | ["namespaces", _, "status" | "finalize"]);
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !own => (*namespace, rest),
        rest => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return Err(Status::no_such_path()),
    };
    let kind = kinds.by_path(group, version, plural).ok_or_else(|| kinds.unknown(group))?;
    let known = match subresource {
        "" => true,
        "status" => kind.has_status,
        "scale" => kind.has_scale,
        "finalize" => kind.is("", "Namespace"),
        _ => false,
    };
    let placed = namespace.is_empty() || kind.namespaced;
    let missing = !name.is_empty() && kind.namespaced && namespace.is_empty();
    if !known || !placed || missing {
        return Err(Status::no_such_path());
    }
    let [namespace, name, subresource] = [namespace, name, subresource].map(str::to_owned);
    Ok(Target { kind, namespace, name, subresource })
}

fn find_verb(method: &Method, target: &Target, query: &Query, headers: &HeaderMap) -> Result<Verb, Status> {
    let named = !target.name.is_empty();
    match (method.as_str(), named) {
        ("GET", true) => Ok(if query.flag("watch") { Verb::Watch } else { Verb::Get }),
        ("GET", false) => Ok(if query.flag("watch") { Verb::Watch } else { Verb::List }),
        ("POST", false) if !target.namespace.is_empty() || !target.kind.namespaced => Ok(Verb::Create),
        ("PUT", true) => Ok(Verb::Update),
        ("PATCH", true) => find_dialect(headers),
        ("DELETE", true) => Ok(Verb::Delete),
        ("DELETE", false) => Ok(Verb::DeleteCollection),
        _ => Err(Status::method_not_allowed()),
    }
}

fn find_dialect(headers: &HeaderMap) -> Result<Verb, Status> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/apply-patch+yaml" => Ok(Verb::Apply),
        "application/json-patch+json" => Ok(Verb::Patch(Dialect::Json)),
        "application/merge-patch+json" => Ok(Verb::Patch(Dialect::Merge)),
        "application/strategic-merge-patch+json" => Ok(Verb::Patch(Dialect::Strategic)),
        _ => Err(Status::unsupported("415: Unsupported Media Type").bare()),
    }
}
