//! All paths of the port: gRPC with health and reflection, and a few plain HTTP ones.

use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use taffrail_proto::api::FILE_DESCRIPTOR_SET;
use taffrail_proto::v1::PartStatus;
use taffrail_proto::v1::fleet_server::FleetServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::auth::Keyring;
use super::grpc::Grpc;
use super::service::Fleet;

/// Largest body of a Git host's notice, in bytes: a push of many commits is well below it, and it is only a hint.
pub const HOOK_BYTES_MAX: usize = 1024 * 1024;

/// Takes notices of Git hosts.
#[async_trait]
pub trait Hook: Send + Sync + 'static {
    /// Checks the signature over the raw body and, if it holds, has the sources looked at. The answer is the status that
    /// the Git host sees; it must not depend on which sources exist.
    async fn received(&self, headers: &HeaderMap, body: &[u8]) -> StatusCode;
}

/// What the port serves beside the fleet.
pub struct Served {
    /// The fleet.
    pub fleet: Arc<dyn Fleet>,
    /// Who may ask.
    pub keyring: Keyring,
    /// All metrics as text (`OpenMetrics`).
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Notices of Git hosts.
    pub hook: Arc<dyn Hook>,
    /// Paths by which clusters join and renew.
    pub join: Router,
}

/// Reflection could not be set up: the descriptors of this build are broken.
#[derive(Debug, thiserror::Error)]
#[error("read the descriptors of the API")]
pub struct BrokenDescriptors {
    #[source]
    source: tonic_reflection::server::Error,
}

/// Every path of the port.
///
/// # Errors
/// The descriptors of this build are broken.
pub async fn router(served: Served, stop: CancellationToken) -> Result<Router, BrokenDescriptors> {
    let Served { fleet, keyring, metrics, hook, join } = served;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|source| BrokenDescriptors { source })?;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<FleetServer<Grpc>>().await;

    let grpc = FleetServer::with_interceptor(Grpc::new(Arc::clone(&fleet), stop), keyring);
    let services = Routes::new(grpc).add_service(health).add_service(reflection);
    let plain = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(fleet)
        .merge(Router::new().route("/metrics", get(measured)).with_state(metrics))
        .merge(
            Router::new()
                .route("/hooks/git", post(hooked))
                .layer(DefaultBodyLimit::max(HOOK_BYTES_MAX))
                .with_state(hook),
        )
        .merge(join);
    Ok(services.prepare().into_axum_router().merge(plain))
}

/// 200 if every part works; with `?verbose`, or if one does not, a line for each.
async fn ready(State(fleet): State<Arc<dyn Fleet>>, uri: axum::http::Uri) -> Response {
    let verbose = uri.query().is_some_and(|query| query.split('&').any(|word| word.starts_with("verbose")));
    let parts = fleet.check().await.value;
    let works = |status: PartStatus| matches!(status, PartStatus::Ok | PartStatus::Warning);
    let all = !parts.is_empty() && parts.iter().all(|part| works(part.status()));
    let mut text = String::new();
    if verbose || !all {
        for part in &parts {
            let mark = if works(part.status()) { '+' } else { '-' };
            let _ = writeln!(text, "[{mark}] {}: {}", part.name, part.message); // writing to a string cannot fail
        }
    }
    text.push_str(if all { "ready\n" } else { "not ready\n" });
    let status = if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text).into_response()
}

async fn measured(State(metrics): State<Arc<dyn Fn() -> String + Send + Sync>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics()).into_response()
}

async fn hooked(State(hook): State<Arc<dyn Hook>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    hook.received(&headers, &body).await
}
