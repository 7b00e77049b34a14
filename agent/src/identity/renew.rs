//! Renewing credentials: when a third of their life is left, and just as well when none is.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use taffrail_core::time::At;
use taffrail_proto::join::{Code, Joined, Refused, RenewBody, Renewal};
use taffrail_proto::sign::random;
use taffrail_runtime::nats::Link;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::obtain::{chance, tell_skew};
use super::{Error, HubClient, Identity, Member};

/// Longest pause between looks at the clock, so that a machine that slept or a clock that was set is noticed.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// Pause after a refusal for good, such as keys that are not known: someone may take that back.
const REFUSED_PAUSE: Duration = Duration::from_mins(10);
/// Shortest pause between two renewals because NATS did not take the login: it may not know of the fleet yet.
const DOUBT_PAUSE: Duration = Duration::from_secs(30);
/// A fleet whose logins are not taken any more asks over this time, and not all at once.
const DOUBT_SPREAD: Duration = Duration::from_secs(2);

/// Whether credentials should be renewed: a third of their life or less is left, or the clock was set to before they came.
pub fn is_due(member: &Member, at: At) -> bool {
    at < member.received_at || at.since(member.received_at).0 >= member.valid.0 / 3 * 2
}

/// Keeps an identity's credentials fresh, and finds out when the cluster is of the fleet no more.
pub struct Renewer {
    identity: Identity,
    link: watch::Receiver<Link>,
    removed: CancellationToken,
}

impl Renewer {
    /// Takes over the identity; subscribe to its `member` before. `link` tells when NATS does not take the login;
    /// `removed` is set when the hub says that the cluster was removed, which only it can say, over HTTPS.
    pub fn new(identity: Identity, link: watch::Receiver<Link>, removed: CancellationToken) -> Renewer {
        Renewer { identity, link, removed }
    }

    /// Renews until `stop` or until the cluster was removed. Nothing that fails here ends the agent: it goes on healing
    /// to the last verified index.
    pub async fn run(mut self, stop: CancellationToken) {
        let (mut attempt, mut refusals, mut doubted, mut quiet_until) = (0, 0, false, Instant::now());
        loop {
            let at = (self.identity.settings.clock)();
            let due = is_due(&self.identity.member.borrow(), at);
            let wait = if due || doubted { self.try_once(&mut attempt).await } else { LOOK_EVERY };
            if self.removed.is_cancelled() {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => doubted = false,
                seen = doubt(&mut self.link, refusals, quiet_until) => {
                    (refusals, doubted, quiet_until) = (seen, true, Instant::now() + DOUBT_PAUSE);
                }
            }
        }
    }

    async fn try_once(&mut self, attempt: &mut u32) -> Duration {
        let Err(error) = self.renew().await else {
            *attempt = 0;
            tracing::info!("credentials renewed");
            return LOOK_EVERY;
        };
        if matches!(&error, Error::Refused(refused) if refused.code == Code::Revoked) {
            tracing::error!(
                error = %error,
                "cluster was removed from the fleet; objects stay and are healed to the last index until this agent is deleted"
            );
            self.removed.cancel();
            return REFUSED_PAUSE;
        }
        *attempt += 1;
        let for_good = matches!(&error, Error::Refused(refused) if !refused.code.is_transient());
        let wait =
            if for_good { REFUSED_PAUSE } else { self.identity.settings.backoff.delay(*attempt, chance()) };
        let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let error = taffrail_runtime::telemetry::chain(&error);
        tracing::warn!(error, attempt = *attempt, retry_in_ms, "credentials not renewed, will retry");
        wait
    }

    /// Renews now, whatever the time.
    ///
    /// # Errors
    /// [`Error`]: refused, or the new credentials cannot be kept. The old ones then stay.
    pub async fn renew(&mut self) -> Result<(), Error> {
        let mut joined = self.ask().await?;
        // Whoever holds the hub must not be able to replace the key that is kept away from it.
        if let Some(first) = &self.identity.kept.joined
            && !first.restore_key.is_empty()
            && first.restore_key != joined.restore_key
        {
            tracing::error!("hub names another restore key, the first one stays");
            joined.restore_key.clone_from(&first.restore_key);
        }
        let at = (self.identity.settings.clock)();
        tell_skew(at, At(joined.at_ms));
        let member = Member::parse(&joined, at)?;
        let present = self.identity.member.borrow().account.clone();
        if member.account != present {
            let cause = format!("The answer is for account {}, this is {present}.", member.account);
            return Err(Refused::new(Code::Identity, cause).into());
        }
        let kept = &mut self.identity.kept;
        (kept.joined, kept.received_ms) = (Some(joined), at.0);
        // Shown even if it cannot be kept: a restart asks again, but this process can go on.
        let saved = self.identity.store.save(&kept.text()).await;
        self.identity.member.send_replace(Arc::new(member));
        saved.map_err(Error::from)
    }

    async fn ask(&self) -> Result<Joined, Refused> {
        let (member, settings) = (self.identity.member.borrow().clone(), &self.identity.settings);
        let nonce: [u8; 16] = random().unwrap_or_default();
        let renewal = Renewal {
            account: member.account.to_string(),
            user_public: self.identity.keys.user.public_key(),
            agent_version: settings.agent_version.clone(),
            at_ms: (settings.clock)().0,
            nonce: STANDARD.encode(nonce),
        };
        // The manifest's authority too: a hub that was set up anew is recognised after a new manifest was applied.
        let trusted = [member.ca_pem.as_str(), settings.ca_pem.as_str()].join("\n");
        let client = HubClient::new(&settings.hub_url, &trusted)?;
        client.renew(&RenewBody::sign(&renewal, &self.identity.keys.event)).await
    }
}

/// Waits until NATS did not take the login once more than `known`; returns how often it was.
async fn doubt(link: &mut watch::Receiver<Link>, known: u64, quiet_until: Instant) -> u64 {
    tokio::time::sleep_until(quiet_until).await;
    let Ok(seen) = link.wait_for(|link| link.refusals > known).await.map(|link| link.refusals) else {
        return std::future::pending().await; // the connection ended with the process
    };
    tokio::time::sleep(DOUBT_SPREAD.mul_f64(chance())).await;
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_core::id::{AccountKey, ClusterName};
    use taffrail_core::time::Span;
    use taffrail_proto::sign::PublicKey;

    #[test]
    fn credentials_are_renewed_when_a_third_is_left_and_after_their_end() {
        let member = Member {
            cluster: ClusterName::parse("paris").unwrap(),
            account: AccountKey::parse(&format!("A{}", "B".repeat(55))).unwrap(),
            nats_jwt: String::new(),
            nats_urls: Vec::new(),
            ca_pem: String::new(),
            hub_key: PublicKey([0; 32]),
            restore_key: None,
            epoch: 1,
            incarnation: 0,
            received_at: At(1_000_000),
            valid: Span::secs(900),
        };
        for (at, due) in
            [(1_000_000, false), (1_599_999, false), (1_600_000, true), (9_000_000, true), (999_999, true)]
        {
            assert_eq!(is_due(&member, At(at)), due, "{at}");
        }
    }
}
