//! Probes and metrics on a port of their own: plain HTTP, no secrets.

use crate::driver::{Sent, Shown};
use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::net::SocketAddr;
use taffrail_runtime::supervise::{Kind, Stage, Supervisor};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the probes look at.
#[derive(Clone)]
pub struct Looked {
    /// What the driver shows.
    pub shown: watch::Receiver<Shown>,
    /// How far the outbox has come.
    pub sent: watch::Receiver<Sent>,
    /// Set once the cluster is of the fleet no more.
    pub removed: CancellationToken,
}

/// Starts the task that serves them.
pub fn spawn(supervisor: &mut Supervisor, address: SocketAddr, looked: Looked) {
    supervisor.spawn("probes", Kind::Service, Stage::Output, move |stop| async move {
        serve(address, looked, stop).await.with_context(|| format!("listen at {address} for probes"))
    });
}

/// Serves `/livez`, `/readyz` and `/metrics` until `stop`.
///
/// # Errors
/// When the port cannot be listened at.
pub async fn serve(address: SocketAddr, looked: Looked, stop: CancellationToken) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let (ready, measured) = (looked.clone(), looked);
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(async move || readiness(&ready)))
        .route("/metrics", get(async move || metrics(&measured)));
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// An agent without the hub is ready: it goes on healing. It is not ready before it holds an index, nor after its
/// cluster was removed.
fn readiness(looked: &Looked) -> (StatusCode, String) {
    let held = looked.shown.borrow().held;
    if looked.removed.is_cancelled() {
        let said = format!("index: {held}\nhub: the cluster was removed from the fleet\n");
        return (StatusCode::SERVICE_UNAVAILABLE, said);
    }
    let hub = if looked.sent.borrow().connected { "hub: connected" } else { "hub: away" };
    if held.generation == 0 {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("index: none yet\n{hub}\n"));
    }
    (StatusCode::OK, format!("index: {held}\n{hub}\n"))
}

fn metrics(looked: &Looked) -> String {
    let (shown, sent) = (*looked.shown.borrow(), *looked.sent.borrow());
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let values = [
        ("index_generation", "Generation of the index in force", number(shown.held.generation)),
        ("index_epoch", "Hub epoch of the index in force", number(shown.held.epoch)),
        ("events", "Events of this journal", number(shown.last_seq)),
        ("events_receipted", "Events for which the hub gave its receipt", number(sent.receipted)),
        (
            "removed",
            "Whether the hub said that the cluster was removed from the fleet",
            i64::from(looked.removed.is_cancelled()),
        ),
        ("hub_connected", "Whether the hub answered last time", i64::from(sent.connected)),
    ];
    let mut registry = Registry::with_prefix("taffrail_agent");
    for (name, help, value) in values {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
    let mut text = String::new();
    // Writing to a string fails only where a metric breaks the format, and these are fixed.
    if encode(&mut text, &registry).is_err() {
        text.clear();
    }
    text
}
