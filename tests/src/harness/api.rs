//! An HTTP proxy in front of a real API server that answers in its place now and then.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Random;

/// Largest body of a request: the API server's own bound is 3 MiB.
const BODY_MAX: usize = 4 * 1024 * 1024;

/// What is answered instead of passing a request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A status, and after how many seconds to come again.
    Status(u16, Option<u64>),
    /// Nothing, for as long as the asker waits and the rule holds.
    Silence,
}

/// Which requests a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those that write.
    Writes,
    /// Those that begin to watch.
    Watches,
}

/// A fault, for this share of some requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which requests.
    pub which: Which,
    /// How many of a hundred.
    pub percent: u64,
    /// What they get.
    pub fault: Fault,
}

struct Passing {
    http: reqwest::Client,
    server: String,
    token: HeaderValue,
    rule: Mutex<(Option<Rule>, Random)>,
    hits: AtomicU64,
    /// Changed with the rule: what watches then ends.
    changes: watch::Sender<u64>,
}

/// A proxy that speaks plain HTTP and asks as the administrator of a kubeconfig; who is to be impersonated is passed on.
/// Dropping it closes it.
pub struct Gate {
    address: SocketAddr,
    passing: Arc<Passing>,
    stop: CancellationToken,
}

impl fmt::Debug for Gate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Gate({})", self.address)
    }
}

impl Gate {
    /// A proxy for the API server of `kubeconfig`; its chance comes from `seed`.
    ///
    /// # Errors
    /// The kubeconfig cannot be read, or no port is free.
    pub async fn start(kubeconfig: &Path, seed: u64) -> Result<Gate> {
        let text = std::fs::read_to_string(kubeconfig).context("read the kubeconfig")?;
        let config: Value = serde_saphyr::from_str(&text).context("read the kubeconfig")?;
        let text =
            |value: &Value| value.as_str().map(str::to_owned).context("the kubeconfig lacks something");
        let cluster = &config["clusters"][0]["cluster"];
        let authority = STANDARD.decode(text(&cluster["certificate-authority-data"])?)?;
        let authority = reqwest::Certificate::from_pem(&authority)?;
        let passing = Arc::new(Passing {
            http: reqwest::Client::builder().tls_certs_only([authority]).no_proxy().build()?,
            server: text(&cluster["server"])?,
            token: HeaderValue::from_str(&format!("Bearer {}", text(&config["users"][0]["user"]["token"])?))?,
            rule: Mutex::new((None, Random::new(seed))),
            hits: AtomicU64::new(0),
            changes: watch::Sender::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for a proxy")?;
        let (address, stop) = (listener.local_addr()?, CancellationToken::new());
        let routes = Router::new().fallback(answer).with_state(passing.clone());
        let ending = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                ended = axum::serve(listener, routes) => drop(ended),
                () = ending.cancelled() => {}
            }
        });
        Ok(Gate { address, passing, stop })
    }

    /// Writes a kubeconfig that leads through this proxy.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn write_kubeconfig(&self, path: &Path) -> Result<()> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
            "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "proxy", "user": {}}],
        });
        std::fs::write(path, config.to_string()).with_context(|| format!("write {}", path.display()))
    }

    /// Answers so from now on; with `None` everything passes. Watches that stand are cut off.
    pub fn set(&self, rule: Option<Rule>) {
        self.passing.rule.lock().unwrap_or_else(PoisonError::into_inner).0 = rule;
        self.passing.changes.send_modify(|changes| *changes += 1);
    }

    /// How many requests were answered here so far.
    pub fn hits(&self) -> u64 {
        self.passing.hits.load(Ordering::Relaxed)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Passing {
    /// What this request gets instead of an answer of the server.
    fn fault(&self, request: &Request) -> Option<Fault> {
        let mut guard = self.rule.lock().unwrap_or_else(PoisonError::into_inner);
        let (rule, random) = &mut *guard;
        let rule = (*rule)?;
        let concerned = match rule.which {
            Which::All => true,
            Which::Writes => request.method() != Method::GET,
            Which::Watches => request.uri().query().is_some_and(|query| query.contains("watch=")),
        };
        (concerned && random.below(100) < rule.percent).then_some(rule.fault)
    }

    async fn pass(&self, request: Request) -> Result<Response> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = parts.headers;
        for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            headers.remove(name);
        }
        headers.insert(header::AUTHORIZATION, self.token.clone());
        let asked = self.http.request(parts.method, format!("{}{path}", self.server)).headers(headers);
        let answer = asked.body(to_bytes(body, BODY_MAX).await?).send().await?;
        let mut changes = self.changes.subscribe();
        let cut = async move {
            // An error means that the proxy has ended.
            let _ = changes.changed().await;
        };
        let watched = parts.uri.query().is_some_and(|query| query.contains("watch="));
        let mut answer = http::Response::<reqwest::Body>::from(answer).map(|body| {
            if watched {
                Body::from_stream(body.into_data_stream().take_until(Box::pin(cut)))
            } else {
                Body::new(body)
            }
        });
        answer.headers_mut().remove(header::TRANSFER_ENCODING);
        Ok(answer)
    }
}

async fn answer(State(passing): State<Arc<Passing>>, request: Request) -> Response {
    let Some(fault) = passing.fault(&request) else {
        return passing.pass(request).await.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response());
    };
    passing.hits.fetch_add(1, Ordering::Relaxed);
    let (code, after) = match fault {
        Fault::Status(code, after) => (code, after),
        Fault::Silence => {
            let mut changes = passing.changes.subscribe();
            // An error means that the proxy has ended.
            let _ = changes.changed().await;
            return StatusCode::BAD_GATEWAY.into_response();
        }
    };
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason(code),
        "message": format!("a fault of the tests: {}", reason(code)),
    });
    let mut response = axum::Json(status).into_response();
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(seconds) = after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The reason that a real API server gives with a status.
fn reason(code: u16) -> &'static str {
    match code {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "InternalError",
    }
}
