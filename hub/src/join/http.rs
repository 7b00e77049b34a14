//! `POST /v1/join` and `POST /v1/renew`: reading, bounding and verifying requests before anyone decides about them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{self, ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::post;
use serde::de::DeserializeOwned;
use taffrail_core::id::AccountKey;
use taffrail_core::time::{At, Span};
use taffrail_proto::join::{
    BODY_BYTES_MAX, Code, JOIN_PATH, Joined, RENEW_PATH, Refused, RenewBody, TEXT_BYTES_MAX, Token,
    TokenBody, UserKey, is_skewed,
};
use taffrail_proto::seal::BoxPublicKey;
use taffrail_proto::sign::PublicKey;
use taffrail_runtime::config::HumanDuration;

use super::rate::Rate;
use super::{Admission, Keys, RenewRequest, Request};

/// How long a body may take to arrive: 16 KiB over the slowest link that can carry events at all.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an agent that asked too often is told to wait, in seconds.
const RETRY_AFTER: &str = "10";

/// The hub's time.
pub type Clock = Arc<dyn Fn() -> At + Send + Sync>;

#[derive(Clone)]
struct Door {
    admission: Arc<dyn Admission>,
    clock: Clock,
    rate: Arc<Mutex<Rate>>,
}

/// The two routes. The listener puts `ConnectInfo<SocketAddr>` into each request's extensions; without it all requests
/// share one bound.
pub fn router(admission: Arc<dyn Admission>, clock: Clock) -> Router {
    let door = Door { admission, clock, rate: Arc::default() };
    Router::new().route(JOIN_PATH, post(join)).route(RENEW_PATH, post(renew)).with_state(door)
}

async fn join(State(door): State<Door>, request: extract::Request) -> Response {
    let peer = peer(&request);
    let outcome = async {
        let body: TokenBody = door.read(peer, request).await?;
        let request = check_join(&body)?;
        let token = request.token_digest.short();
        let outcome = door.admission.join(request).await;
        if let Err(refused) = &outcome {
            tracing::warn!(code = %refused.code, token, peer = ?peer, "join refused");
        }
        outcome
    };
    answer(outcome.await)
}

async fn renew(State(door): State<Door>, request: extract::Request) -> Response {
    let peer = peer(&request);
    let outcome = async {
        let body: RenewBody = door.read(peer, request).await?;
        let request = door.verify(&body).await?;
        door.admission.renew(request).await
    };
    let outcome = outcome.await;
    if let Err(refused) = &outcome {
        tracing::warn!(code = %refused.code, peer = ?peer, "renewal refused");
    }
    answer(outcome)
}

impl Door {
    async fn read<T: DeserializeOwned>(
        &self,
        peer: Option<SocketAddr>,
        request: extract::Request,
    ) -> Result<T, Refused> {
        let at = (self.clock)();
        let allowed = {
            let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
            rate.allow(peer.map(|peer| peer.ip()), at)
        };
        if !allowed {
            return Err(Refused::new(Code::TooMany, ""));
        }
        let body = tokio::time::timeout(BODY_TIMEOUT, to_bytes(request.into_body(), BODY_BYTES_MAX)).await;
        let malformed = |cause: &str| Refused::new(Code::Malformed, cause);
        let body = body
            .map_err(|_| malformed("Its body did not arrive within 10 seconds."))?
            .map_err(|_| malformed("Its body is larger than 16 KiB or broke off."))?;
        // The parser's message is not repeated: it may quote the token.
        serde_json::from_slice(&body)
            .map_err(|_| malformed("Its body is not the JSON that this version expects."))
    }

    /// Checks time and signature of a renewal.
    async fn verify(&self, body: &RenewBody) -> Result<RenewRequest, Refused> {
        let malformed = |cause: &str| Refused::new(Code::Malformed, cause);
        let claims = body.claims().ok_or_else(|| malformed("Its payload is not a renewal."))?;
        let account = AccountKey::parse(&claims.account).map_err(|_| malformed("It names no account."))?;
        let user = UserKey::parse(&claims.user_public).ok_or_else(|| malformed("It names no NATS user."))?;
        let agent_version = short("agent_version", &claims.agent_version)?;
        let key = self.admission.event_key(&account).await?;
        if !body.verify(&key) {
            return Err(Refused::new(
                Code::Identity,
                "The signature is not of the key that this cluster joined with.",
            ));
        }
        let (hub, agent) = ((self.clock)(), At(claims.at_ms));
        if is_skewed(hub, agent) {
            return Err(Refused::new(Code::Clock, clock_cause(hub, agent)));
        }
        Ok(RenewRequest { account, user, agent_version })
    }
}

fn clock_cause(hub: At, agent: At) -> String {
    let (Span(ms), side) =
        if agent > hub { (agent.since(hub), "ahead of") } else { (hub.since(agent), "behind") };
    let apart = HumanDuration(Duration::from_secs(ms / 1_000));
    format!("The agent's clock is {apart} {side} the hub's; at most 10m is accepted.")
}

fn check_join(body: &TokenBody) -> Result<Request, Refused> {
    let bad_key = |what: &str| Refused::new(Code::Malformed, format!("Its {what} is not a key."));
    let token = Token::parse(&body.token).ok_or_else(|| {
        Refused::new(Code::TokenUnknown, "It does not look like a token: tjt_ and 43 characters.")
    })?;
    Ok(Request {
        token_digest: token.digest(),
        keys: Keys {
            user: UserKey::parse(&body.user_public).ok_or_else(|| bad_key("user_public"))?,
            event: PublicKey::parse(&body.event_public).map_err(|_| bad_key("event_public"))?,
            boxed: BoxPublicKey::parse(&body.box_public).map_err(|_| bad_key("box_public"))?,
        },
        agent_version: short("agent_version", &body.agent_version)?,
        kubernetes_version: short("kubernetes_version", &body.kubernetes_version)?,
        cluster_uid: short("cluster_uid", &body.cluster_uid)?,
    })
}

fn short(what: &str, text: &str) -> Result<String, Refused> {
    if text.len() <= TEXT_BYTES_MAX && text.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        return Ok(text.to_owned());
    }
    Err(Refused::new(
        Code::Malformed,
        format!("Its {what} is longer than {TEXT_BYTES_MAX} bytes or not plain text."),
    ))
}

fn peer(request: &extract::Request) -> Option<SocketAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer)
}

fn answer(outcome: Result<Joined, Refused>) -> Response {
    match outcome {
        Ok(joined) => ([(header::CACHE_CONTROL, "no-store")], Json(joined)).into_response(),
        Err(refused) => {
            let status =
                StatusCode::from_u16(refused.code.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let mut response = (status, Json(refused.to_wire())).into_response();
            if refused.code.is_transient() {
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER));
            }
            response
        }
    }
}
