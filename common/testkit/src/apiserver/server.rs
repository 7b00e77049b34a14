//! The running server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use super::answer::answer;
use super::controllers;
use super::faults::Faults;
use super::state::State;
use super::store::Store;

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The bearer token that every request must carry; empty asks for none, which `kubectl` needs: it sends no token
    /// over plain HTTP.
    pub token: String,
    /// From the making of a pod until it runs (or shows why it does not).
    pub pod_delay: Duration,
    /// Whether owners, namespaces, Deployments and pods are acted on; without, objects stay as they are written.
    pub controllers: bool,
    /// Between two bookmarks of a watch that asks for them.
    pub bookmark_interval: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            token: "taffrail-testkit".to_owned(),
            pod_delay: Duration::from_millis(100),
            controllers: true,
            bookmark_interval: Duration::from_secs(1),
        }
    }
}

/// What all requests of one server share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Carries the revision of the last change.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) faults: Faults,
    pub(crate) options: Options,
    pub(crate) stopping: CancellationToken,
    /// Counts the starts of the server's own process, as far as watches can tell: each ends them.
    pub(crate) restarts: watch::Sender<u64>,
}

/// Everything that the server kept at one time.
#[derive(Clone, Debug)]
pub struct Backup(Store);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a write and wakes all who wait for changes.
    pub(crate) fn change<T>(&self, write: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let before = state.store.revision();
        let out = write(&mut state);
        let after = state.store.revision();
        drop(state);
        if before != after {
            self.changed.send_replace(after);
        }
        out
    }
}

/// Why a server could not be started.
#[derive(Debug)]
pub struct StartError(std::io::Error);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("listen on a free port of 127.0.0.1")
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// An in-memory Kubernetes API server on a port of 127.0.0.1, with plain HTTP. It ends when it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
    url: String,
    _stops: DropGuard,
}

impl ApiServer {
    /// Starts a server on a free port.
    ///
    /// # Errors
    /// [`StartError`] if no port can be listened on.
    pub async fn start(options: Options) -> Result<ApiServer, StartError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(StartError)?;
        let address = listener.local_addr().map_err(StartError)?;
        let state = State::new();
        let (changed, _) = watch::channel(state.store.revision());
        let stopping = CancellationToken::new();
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed,
            faults: Faults::default(),
            options,
            stopping: stopping.clone(),
            restarts: watch::Sender::new(0),
        });
        let for_requests = Arc::clone(&shared);
        let app = Router::new().fallback(move |request| answer(Arc::clone(&for_requests), request));
        let stopped = stopping.clone().cancelled_owned();
        tokio::spawn(async move {
            let serve = axum::serve(listener, app).with_graceful_shutdown(stopped);
            if let Err(error) = serve.await {
                tracing::warn!(%error, "API server ended");
            }
        });
        if shared.options.controllers {
            tokio::spawn(controllers::run(Arc::clone(&shared)));
        }
        Ok(ApiServer { shared, url: format!("http://{address}"), _stops: stopping.drop_guard() })
    }

    /// Where the server listens: `http://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A kubeconfig for this server, as JSON (which is YAML), with one context named `memory`.
    pub fn kubeconfig(&self) -> String {
        let token = &self.shared.options.token;
        let user = if token.is_empty() { serde_json::json!({}) } else { serde_json::json!({"token": token}) };
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "memory", "cluster": {"server": self.url}}],
            "users": [{"name": "admin", "user": user}],
            "contexts": [{"name": "memory", "context": {"cluster": "memory", "user": "admin", "namespace": "default"}}],
            "current-context": "memory",
        })
        .to_string()
    }

    /// Faults on order, and the record of requests.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Forgets all history: older watches and pages of lists get 410.
    pub fn compact(&self) {
        self.shared.lock().store.compact();
    }

    /// Everything that is kept now, definitions of kinds left out.
    pub fn backup(&self) -> Backup {
        Backup(self.shared.lock().store.clone())
    }

    /// Puts a backup back, as an etcd that is restored: versions count on from there, and every watch ends.
    pub fn restore(&self, Backup(store): Backup) {
        self.shared.change(|state| state.store = store);
        self.shared.restarts.send_modify(|restarts| *restarts += 1);
    }

    /// The resourceVersion of the last change.
    pub fn revision(&self) -> u64 {
        self.shared.lock().store.revision()
    }

    /// An object as it is stored, without a request. `namespace` is empty for cluster-wide kinds.
    pub fn object(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let state = self.shared.lock();
        let target = state.target(api_version, kind, namespace, name)?;
        state.store.at(&target.at()).map(|object| (*object).clone())
    }

    /// Ends the server: connections break, watches end.
    pub fn stop(&self) {
        self.shared.stopping.cancel();
    }
}
