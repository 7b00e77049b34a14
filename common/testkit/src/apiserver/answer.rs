//! From an HTTP request to its answer.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Value, json};

use super::delete::Deleted;
use super::discovery;
use super::faults::Fault;
use super::read::send;
use super::request::{Asked, Verb};
use super::reviews;
use super::server::Shared;
use super::status::{PAGE, Status, success};
use super::watch::{Watching, watch};

/// Largest body that is read, in bytes. Source: the API server's own limit of 3 MiB.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Answers one request.
pub(crate) async fn answer(shared: Arc<Shared>, request: Request<Body>) -> Response {
    let outcome = tokio::select! {
        outcome = respond(&shared, request) => outcome,
        () = shared.stopping.cancelled() => Err(Status::new(503, "ServiceUnavailable", "the server is stopping")),
    };
    outcome.unwrap_or_else(|status| refuse(&status))
}

async fn respond(shared: &Arc<Shared>, request: Request<Body>) -> Result<Response, Status> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if matches!(path.as_str(), "/healthz" | "/livez" | "/readyz") {
        return Ok(Response::new(Body::from("ok")));
    }
    check_token(shared, &parts.headers)?;
    let accept = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let aggregated = accept.contains("as=APIGroupDiscoveryList");
    if let Some(document) = discovery::document(&shared.lock().kinds, &path, aggregated) {
        let mut response = send_json(StatusCode::OK, &document);
        if aggregated && matches!(path.as_str(), "/api" | "/apis") {
            let kind = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        return Ok(response);
    }
    let body = read_body(body).await?;
    if let Some(review) = reviews::answer(&path, &body, &parts.headers) {
        return Ok(send_json(StatusCode::CREATED, &review));
    }
    let asked = Asked::parse(&shared.lock().kinds, &parts.method, &parts.uri, &parts.headers)?;
    let (fault, latency) = shared.faults.meet(asked.seen(&parts.headers));
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    if let Some(fault) = &fault {
        suffer(fault, &asked).await?;
    }
    let response = carry_out(shared, &asked, &body)?;
    if fault == Some(Fault::LoseAnswer) {
        // The connection breaks after the deed: the client cannot know whether it was done.
        let broken =
            futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("answer lost on order")) });
        return Ok(Response::new(Body::from_stream(broken)));
    }
    Ok(response)
}

async fn suffer(fault: &Fault, asked: &Asked) -> Result<(), Status> {
    match fault {
        Fault::Hang => std::future::pending().await,
        Fault::Delay(time) => tokio::time::sleep(*time).await,
        fault => {
            if let Some(refusal) = fault.refusal(&asked.target.kind.qualified_plural(), &asked.target.name) {
                return Err(refusal);
            }
        }
    }
    Ok(())
}

fn check_token(shared: &Shared, headers: &HeaderMap) -> Result<(), Status> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wanted = &shared.options.token;
    if wanted.is_empty() || given == format!("Bearer {wanted}") {
        return Ok(());
    }
    Err(Status::new(401, "Unauthorized", "Unauthorized"))
}

async fn read_body(body: Body) -> Result<Bytes, Status> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Status::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {BODY_BYTES_MAX}"),
        )),
        Err(error) => Err(Status::bad_request(format!("the body cannot be read: {error}"))),
    }
}

fn parse_json(body: &Bytes) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(|error| Status::bad_request(format!("the body is no JSON: {error}")))
}

/// A body of server-side apply is YAML, of which JSON is a part.
fn parse_yaml(body: &Bytes) -> Result<Value, Status> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body)
        .map_err(|error| Status::bad_request(format!("the body is no text: {error}")))?;
    serde_saphyr::from_str(text).map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))
}

fn carry_out(shared: &Arc<Shared>, asked: &Asked, body: &Bytes) -> Result<Response, Status> {
    let Asked { verb, target, form, how, .. } = asked;
    let object = |code: StatusCode, object: &Value| {
        if target.subresource == "scale" {
            return send_json(code, &super::scale::of(object));
        }
        send_json(code, &send(&target.kind, object, *form))
    };
    match verb {
        Verb::Get => Ok(send_json(StatusCode::OK, &shared.lock().get(target, *form)?)),
        Verb::List => Ok(send_json(StatusCode::OK, &shared.lock().list(target, &asked.listing()?, *form)?)),
        Verb::Watch => start_watch(shared, asked),
        Verb::Create => {
            let made = shared.change(|state| state.create(target, parse_json(body)?, how))?;
            Ok(object(StatusCode::CREATED, &made))
        }
        Verb::Update => {
            let written = shared.change(|state| state.update(target, parse_json(body)?, how))?;
            Ok(object(StatusCode::OK, &written))
        }
        Verb::Patch(dialect) => {
            let patch = parse_json(body)?;
            let written = shared.change(|state| state.patch(target, *dialect, &patch, how))?;
            Ok(object(StatusCode::OK, &written))
        }
        Verb::Apply => {
            let config = parse_yaml(body)?;
            let (written, made) = shared.change(|state| state.apply(target, config, how))?;
            Ok(object(if made { StatusCode::CREATED } else { StatusCode::OK }, &written))
        }
        Verb::Delete => {
            let wish = asked.deletion(&if body.is_empty() { Value::Null } else { parse_json(body)? })?;
            let deleted = shared.change(|state| state.delete(target, &wish))?;
            Ok(match deleted {
                Deleted::Gone(uid) => send_json(StatusCode::OK, &success(&target.kind, &target.name, &uid)),
                Deleted::Held(held) => object(StatusCode::OK, &held),
            })
        }
        Verb::DeleteCollection => {
            let wish = asked.deletion(&if body.is_empty() { Value::Null } else { parse_json(body)? })?;
            let (selector, kind) = (asked.selector()?, target.kind.clone());
            shared.change(|state| {
                let names: Vec<_> = state
                    .store
                    .all(&kind.resource())
                    .filter(|(name, object)| {
                        (target.namespace.is_empty() || name.0 == target.namespace)
                            && selector.matches(object)
                    })
                    .map(|(name, _)| name.clone())
                    .collect();
                let mut items = Vec::new();
                for (namespace, name) in names {
                    let one = super::state::Target { namespace, name, ..target.clone() };
                    items.push((*state.find(&one)?).clone());
                    state.delete(&one, &wish)?;
                }
                let metadata = json!({"resourceVersion": state.store.revision().to_string()});
                let (api_version, name) = (kind.api_version(), format!("{}List", kind.kind));
                let list =
                    json!({"apiVersion": api_version, "kind": name, "metadata": metadata, "items": items});
                Ok(send_json(StatusCode::OK, &list))
            })
        }
    }
}

fn start_watch(shared: &Arc<Shared>, asked: &Asked) -> Result<Response, Status> {
    let query = &asked.query;
    let initial_events = query.flag("sendInitialEvents");
    if initial_events && query.get("resourceVersionMatch") != "NotOlderThan" {
        let why = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        return Err(Status::bad_request(why));
    }
    let ask = Watching {
        target: asked.target.clone(),
        selector: asked.selector()?,
        form: asked.form,
        resource_version: query.get("resourceVersion").to_owned(),
        bookmarks: query.flag("allowWatchBookmarks"),
        initial_events,
        timeout: asked.timeout(),
    };
    let stream = watch(shared, ask)?;
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn send_json(code: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refuse(status: &Status) -> Response {
    if status.reason == PAGE {
        let mut response = Response::new(Body::from(status.message.clone()));
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = send_json(code, &status.to_json());
    if let Some(seconds) = status.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
