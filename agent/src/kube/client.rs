//! Connections to the API server: one with the agent's own rights, one as the service account that applies.

use super::error::{ApiError, Kind, Secrecy, chain};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header::{RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyStream;
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

/// The identity that applies where nothing else is said: the service account of the join YAML.
pub const APPLIER: &str = "system:serviceaccount:taffrail-system:taffrail-applier";

/// Largest answer that is read, in bytes: a page of [`super::pods`] with large pods is about 2 MiB.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Longest wait that a server's `Retry-After` is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(5);

/// How the API server is reached, and how hard it may be worked.
#[derive(Clone, Debug)]
pub struct Access {
    /// A kubeconfig; `None` for the pod's own service account.
    pub kubeconfig: Option<PathBuf>,
    /// User that the applier impersonates, such as [`APPLIER`]. Must not be empty.
    pub applier: String,
    /// Time limit of one request, without the wait for a free place.
    pub request_limit: Duration,
    /// A watch on which nothing comes for so long, not even a bookmark, is begun again.
    pub silence: Duration,
    /// Requests in flight at most, over both identities; watches are not counted.
    pub in_flight: usize,
    /// Requests per second at most, over both identities; as many may come at once after a quiet second.
    pub per_second: u32,
}

impl Default for Access {
    fn default() -> Access {
        Access {
            kubeconfig: None,
            applier: APPLIER.to_owned(),
            request_limit: Duration::from_secs(15), // webhooks may take 10 s by default
            silence: Duration::from_mins(2),        // API servers send a bookmark every minute
            in_flight: 8,                           // design, section 9: as many as the executor keeps going
            per_second: 1_000, // against loops that run away; places in flight and 429 are the true brake
        }
    }
}

/// No connection could be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The applier would run with the agent's own rights.
    #[error("the identity that applies is empty: name a service account to impersonate")]
    EmptyIdentity,
    /// The kubeconfig already acts as somebody else.
    #[error("the kubeconfig impersonates {user:?} itself: the agent impersonates its applier, and only that")]
    Impersonates {
        /// Whom.
        user: String,
    },
    /// The kubeconfig runs programs.
    #[error("user {user:?} of the kubeconfig runs a program to log in: use a token or a certificate")]
    Plugin {
        /// The kubeconfig's name for the user.
        user: String,
    },
    /// The kubeconfig cannot be used.
    #[error("read kubeconfig {path}")]
    Kubeconfig {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// There is no service account in this pod.
    #[error("read the pod's service account (not in a cluster? then give a kubeconfig)")]
    InCluster(#[source] Box<kube::config::InClusterError>),
    /// The client could not be made.
    #[error("prepare the connection to the API server")]
    Client(#[source] Box<kube::Error>),
}

/// Both identities. Cloning shares connections and limits.
#[derive(Clone)]
pub struct Clients {
    /// Reads, and writes the agent's own objects, with the agent's own rights.
    pub reader: Reader,
    /// Everything that touches people's objects, with the rights of the impersonated service account.
    pub applier: Applier,
}

/// The agent's own rights.
#[derive(Clone)]
pub struct Reader(pub(super) Caller);

/// The rights of the service account that applies.
#[derive(Clone)]
pub struct Applier(pub(super) Caller);

impl Clients {
    /// Prepares both connections; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error`] if the kubeconfig or the pod's service account cannot be used, or is refused.
    pub async fn new(access: &Access) -> Result<Clients, Error> {
        if access.applier.trim().is_empty() {
            return Err(Error::EmptyIdentity);
        }
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails only if another part of the process was faster, and then there is one.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let config = config(access).await?;
        let mut acting = config.clone();
        acting.auth_info.impersonate = Some(access.applier.trim().to_owned());
        let limits = Arc::new(Limits::new(access));
        Ok(Clients {
            reader: Reader(Caller::new(config, &limits)?),
            applier: Applier(Caller::new(acting, &limits)?),
        })
    }
}

async fn config(access: &Access) -> Result<kube::Config, Error> {
    let mut config = match &access.kubeconfig {
        None => kube::Config::incluster().map_err(|source| Error::InCluster(Box::new(source)))?,
        Some(path) => {
            let wrong = |source| Error::Kubeconfig { path: path.clone(), source: Box::new(source) };
            let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
            refuse_plugins(&kubeconfig)?;
            let options = KubeConfigOptions::default();
            kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)?
        }
    };
    if let Some(user) = config.auth_info.impersonate.take() {
        return Err(Error::Impersonates { user });
    }
    config.default_retry = false; // whoever asks decides when to ask again
    config.connect_timeout = Some(access.request_limit);
    config.read_timeout = Some(access.silence);
    let agent = concat!("taffrail-agent/", env!("CARGO_PKG_VERSION"));
    config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    Ok(config)
}

/// A kubeconfig that runs programs hands the agent's rights to whoever wrote it.
fn refuse_plugins(kubeconfig: &Kubeconfig) -> Result<(), Error> {
    for named in &kubeconfig.auth_infos {
        let Some(auth) = &named.auth_info else { continue };
        if auth.exec.is_some() || auth.auth_provider.is_some() {
            return Err(Error::Plugin { user: named.name.clone() });
        }
    }
    Ok(())
}

/// What both identities share: places for requests in flight, the pace, the time limit.
struct Limits {
    places: Semaphore,
    pace: Pace,
    request_limit: Duration,
}

impl Limits {
    fn new(access: &Access) -> Limits {
        Limits {
            places: Semaphore::new(access.in_flight.clamp(1, 64)),
            pace: Pace::new(access.per_second),
            request_limit: access.request_limit,
        }
    }
}

/// Spreads requests evenly once a second's worth of them has been used up.
struct Pace {
    step: Duration,
    free_at: Mutex<Instant>,
}

/// How much unused time may be saved up for a burst.
const BURST: Duration = Duration::from_secs(1);

impl Pace {
    fn new(per_second: u32) -> Pace {
        Pace { step: BURST / per_second.max(1), free_at: Mutex::new(Instant::now()) }
    }

    async fn wait(&self) {
        let turn = {
            let mut free_at = self.free_at.lock().await;
            *free_at = turn(*free_at, Instant::now(), self.step);
            *free_at
        };
        tokio::time::sleep_until(turn).await;
    }
}

/// When the next request may go, if the last one was given `last`.
fn turn(last: Instant, now: Instant, step: Duration) -> Instant {
    last.max(now.checked_sub(BURST).unwrap_or(now)) + step
}

/// One identity's way to the server.
#[derive(Clone)]
pub(super) struct Caller {
    client: kube::Client,
    limits: Arc<Limits>,
}

/// An answer that is not an error.
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) value: Value,
}

impl Caller {
    fn new(config: kube::Config, limits: &Arc<Limits>) -> Result<Caller, Error> {
        let builder = ClientBuilder::try_from(config).map_err(|source| Error::Client(Box::new(source)))?;
        Ok(Caller { client: builder.build(), limits: Arc::clone(limits) })
    }

    /// The client itself, for watches: they last, so they take no place and no time limit.
    pub(super) fn for_watches(&self) -> kube::Client {
        self.client.clone()
    }

    /// Sends one request and reads the whole answer. Waits for a free place first; the time limit begins then.
    ///
    /// # Errors
    /// [`ApiError`] for every answer that is not a success, and for none in time.
    pub(super) async fn call(
        &self,
        action: &str,
        request: Request<Vec<u8>>,
        secrecy: Secrecy,
    ) -> Result<Answer, ApiError> {
        let _place = self.limits.places.acquire().await.expect("the semaphore is never closed");
        self.limits.pace.wait().await;
        let limit = self.limits.request_limit;
        tokio::time::timeout(limit, self.exchange(action, request, secrecy)).await.unwrap_or_else(|_| {
            let message = format!("no answer within {} s", limit.as_secs_f32());
            Err(ApiError::new(action, Kind::Timeout, message))
        })
    }

    async fn exchange(
        &self,
        action: &str,
        request: Request<Vec<u8>>,
        secrecy: Secrecy,
    ) -> Result<Answer, ApiError> {
        let failed = |error: &kube::Error| ApiError::of_client(action, error, secrecy);
        let answer = self.client.send(request.map(Body::from)).await.map_err(|error| failed(&error))?;
        let code = answer.status();
        let retry_after = retry_after(answer.headers());
        let body = read(action, answer.into_body()).await?;
        if !code.is_success() {
            return Err(ApiError::of_answer(action, code, retry_after, &body, secrecy));
        }
        match serde_json::from_slice(&body) {
            Ok(value) => Ok(Answer { code, value }),
            Err(_) => Err(ApiError::new(action, Kind::Other, "the answer is not JSON")),
        }
    }
}

async fn read(action: &str, body: Body) -> Result<Bytes, ApiError> {
    let mut stream = BodyStream::new(body);
    let mut bytes = BytesMut::new();
    while let Some(frame) = stream.next().await {
        let frame = frame.map_err(|error| ApiError::new(action, Kind::Unavailable, chain(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > ANSWER_BYTES_MAX {
            let message = format!("the answer is larger than {} MiB", ANSWER_BYTES_MAX >> 20);
            return Err(ApiError::new(action, Kind::Other, message));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// `Retry-After` in seconds; dates are not used by API servers.
fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(applier: &str, user: &str) -> Error {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{{"name": "c", "context": {{"cluster": "k", "user": "u"}}}}],
            "clusters": [{{"name": "k", "cluster": {{"server": "http://127.0.0.1:1"}}}}],
            "users": [{{"name": "u", "user": {user}}}]}}"#
        );
        std::fs::write(file.path(), text).unwrap();
        let access = Access {
            kubeconfig: Some(file.path().to_owned()),
            applier: applier.to_owned(),
            ..Access::default()
        };
        match Clients::new(&access).await {
            Ok(_) => panic!("accepted: {user}"),
            Err(error) => error,
        }
    }

    #[tokio::test]
    async fn an_empty_identity_and_programs_that_log_in_are_refused() {
        assert!(matches!(refused(" ", "{}").await, Error::EmptyIdentity));
        let exec = r#"{"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "true"}}"#;
        assert!(matches!(refused(APPLIER, exec).await, Error::Plugin { .. }));
        assert!(matches!(
            refused(APPLIER, r#"{"auth-provider": {"name": "x", "config": {}}}"#).await,
            Error::Plugin { .. }
        ));
        assert!(matches!(refused(APPLIER, r#"{"as": "root"}"#).await, Error::Impersonates { .. }));
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_an_error_that_names_it() {
        let access = Access { kubeconfig: Some("/does/not/exist".into()), ..Access::default() };
        let Err(error) = Clients::new(&access).await else { panic!("accepted") };
        assert_eq!(error.to_string(), "read kubeconfig /does/not/exist");
    }

    #[test]
    fn a_quiet_second_may_be_used_up_at_once_and_no_more() {
        let (step, start) = (Duration::from_millis(100), Instant::now());
        let now = start + Duration::from_mins(1);
        let turns = std::iter::successors(Some(turn(start, now, step)), |last| Some(turn(*last, now, step)));
        let waits: Vec<u128> =
            turns.take(15).map(|turn| turn.saturating_duration_since(now).as_millis()).collect();
        assert_eq!(waits[..10], [0; 10]);
        assert_eq!(waits[10..], [100, 200, 300, 400, 500]);
    }
}
