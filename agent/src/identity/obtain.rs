//! From nothing, or from what is kept, to credentials.

use std::sync::Arc;

use taffrail_core::time::At;
use taffrail_proto::join::{Code, Joined, Refused, Token, TokenBody};
use taffrail_proto::sign::random;
use taffrail_runtime::backoff::Backoff;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::keys::Kept;
use super::{Clock, Error, HubClient, Keys, Member, Store};

/// What is needed to obtain credentials.
#[derive(Clone)]
pub struct Obtain {
    /// Where the hub answers.
    pub hub_url: String,
    /// The authority that stood in the join manifest, PEM; empty if only kept credentials are to be used.
    pub ca_pem: String,
    /// The one-time token, if there is one.
    pub token: Option<Token>,
    /// Version of the agent.
    pub agent_version: String,
    /// Version of the API server, empty if not known.
    pub kubernetes_version: String,
    /// `metadata.uid` of `kube-system`, empty if not known.
    pub cluster_uid: String,
    /// How to wait between attempts.
    pub backoff: Backoff,
    /// The agent's clock.
    pub clock: Clock,
}

/// An agent with credentials. They may have expired; the [`super::Renewer`] sees to that.
pub struct Identity {
    /// The agent's keys.
    pub keys: Arc<Keys>,
    /// The present credentials; changed by the renewer.
    pub member: watch::Sender<Arc<Member>>,
    pub(super) kept: Kept,
    pub(super) store: Arc<dyn Store>,
    pub(super) settings: Obtain,
}

/// Takes the kept identity, or makes keys and exchanges the token. A token that was not used yet is exchanged even if
/// there are credentials: someone joined the cluster again. Waits while the hub cannot be reached.
///
/// # Errors
/// [`Error`]: refused for good, the store cannot be used, or `stop`.
pub async fn obtain(
    settings: Obtain,
    store: Arc<dyn Store>,
    stop: &CancellationToken,
) -> Result<Identity, Error> {
    let (mut kept, keys) = if let Some(text) = store.load().await? {
        Kept::parse(&text)?
    } else {
        let keys = Keys::generate()?;
        let kept = Kept::new(&keys);
        store.save(&kept.text()).await?;
        tracing::info!(event_key = %keys.event.public(), "keys made");
        (kept, keys)
    };
    let fresh = settings.token.clone().filter(|token| kept.token_digest != Some(token.digest().to_string()));
    if let Some(token) = fresh {
        match join(&settings, &keys, &token, stop, kept.joined.is_some()).await {
            Ok((joined, at)) => {
                Member::parse(&joined, at)?;
                kept.token_digest = Some(token.digest().to_string());
                (kept.joined, kept.received_ms) = (Some(joined), at.0);
                store.save(&kept.text()).await?;
            }
            Err(Error::Refused(refused)) if kept.joined.is_some() => {
                tracing::warn!(error = %refused, "new join token not accepted, keeping the credentials");
            }
            Err(error) => return Err(error),
        }
    }
    let Some(joined) = &kept.joined else {
        return Err(Refused::new(Code::NoToken, "").into());
    };
    let member = Arc::new(Member::parse(joined, kept.received_at())?);
    tracing::info!(cluster = %member.cluster, "credentials at hand");
    Ok(Identity { keys: Arc::new(keys), member: watch::Sender::new(member), kept, store, settings })
}

/// Asks until the hub answers; with credentials at hand, only once.
async fn join(
    settings: &Obtain,
    keys: &Keys,
    token: &Token,
    stop: &CancellationToken,
    once: bool,
) -> Result<(Joined, At), Error> {
    let client = HubClient::new(&settings.hub_url, &settings.ca_pem)?;
    let body = TokenBody {
        token: token.reveal().to_owned(),
        user_public: keys.user.public_key(),
        event_public: keys.event.public().to_string(),
        box_public: keys.boxed.public().as_str().to_owned(),
        agent_version: settings.agent_version.clone(),
        kubernetes_version: settings.kubernetes_version.clone(),
        cluster_uid: settings.cluster_uid.clone(),
    };
    for attempt in 1.. {
        let asked = tokio::select! {
            () = stop.cancelled() => return Err(Error::Stopped),
            asked = client.join(&body) => asked,
        };
        match asked {
            Ok(joined) => {
                let at = (settings.clock)();
                tell_skew(at, At(joined.at_ms));
                return Ok((joined, at));
            }
            Err(refused) if once || !refused.code.is_transient() => return Err(refused.into()),
            Err(refused) => {
                let wait = settings.backoff.delay(attempt, chance());
                let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(error = %refused, attempt, retry_in_ms, "not joined yet, will retry");
                tokio::select! {
                    () = stop.cancelled() => return Err(Error::Stopped),
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
    Err(Error::Stopped)
}

/// Logs a clock that is more than a minute off: renewals work up to ten.
pub(super) fn tell_skew(agent: At, hub: At) {
    const TOLD_MS: u64 = 60_000;
    let apart = agent.since(hub).0.max(hub.since(agent).0);
    if apart > TOLD_MS {
        tracing::warn!(apart_ms = apart, "clocks of hub and agent differ");
    }
}

/// A number between 0 and 1 for jitter.
pub(super) fn chance() -> f64 {
    let bytes: [u8; 4] = random().unwrap_or_default();
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
