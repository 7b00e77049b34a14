//! Joining and renewing: the core decides, the hub's NATS keys sign.

use crate::driver::{Handle, wall};
use crate::join::{self, Admission, RenewRequest};
use crate::nats::keys::{self, Keys};
use crate::perform::Vault;
use async_trait::async_trait;
use std::sync::Arc;
use taffrail_core::cluster;
use taffrail_core::id::AccountKey;
use taffrail_core::node::hub::Reply;
use taffrail_core::time::Span;
use taffrail_proto::join::{Code, Joined, Refused};
use taffrail_proto::sign::PublicKey;

/// Lets clusters in.
pub struct Admit {
    /// The way to the driver.
    pub handle: Handle,
    /// Makes accounts and signs agents.
    pub keys: Arc<Keys>,
    /// The hub's own keys.
    pub vault: Arc<Vault>,
    /// Where agents reach NATS, in the order to try.
    pub nats_urls: Vec<String>,
    /// The authority that agents trust, PEM.
    pub ca_pem: String,
    /// How long a credential is valid; [`keys::AGENT_LIFE_MAX`] bounds it.
    pub credential_ttl: Span,
}

/// What is known of a cluster when credentials are issued to it.
struct Member {
    cluster: String,
    user_key: String,
    restore_key: Option<PublicKey>,
    epoch: u64,
    incarnation: u64,
}

impl Admit {
    /// The cluster behind an account, or why it is refused.
    async fn member(&self, account: &AccountKey) -> Result<(Member, PublicKey), Refused> {
        let of = account.clone();
        let found = self.handle.look(move |hub, _| {
            let state = hub.state();
            let Some((name, _, enrolment)) = state.clusters.by_account(&of) else {
                return Err(state.clusters.revoked.contains_key(&of));
            };
            let member = Member {
                cluster: name.to_string(),
                user_key: enrolment.user_key.clone(),
                restore_key: state.epochs.restore_key.map(PublicKey),
                epoch: state.planner.epoch,
                incarnation: enrolment.chain.incarnation,
            };
            Ok((member, PublicKey(enrolment.event_key)))
        });
        found.await.map_err(|_| stopping())?.map_err(|revoked| {
            if revoked {
                Refused::new(Code::Revoked, "Its account was revoked when the cluster was removed.")
            } else {
                Refused::new(Code::Identity, "No cluster of this hub has this account.")
            }
        })
    }

    /// Credentials for a user of a cluster.
    async fn issue(&self, account: &AccountKey, user: String, member: Member) -> Result<Joined, Refused> {
        let at = wall();
        let (keys, of, ttl) = (Arc::clone(&self.keys), account.clone(), self.credential_ttl);
        let signed = blocking(move || {
            let user = keys::UserKey::parse(&user)?;
            keys.agent_jwt(&of, &user, at, ttl)
        });
        let (nats_jwt, until) = signed.await.map_err(|error| broken("sign a credential", &error))?;
        Ok(Joined {
            cluster: member.cluster,
            account: account.to_string(),
            nats_jwt,
            nats_urls: self.nats_urls.clone(),
            ca_pem: self.ca_pem.clone(),
            hub_key: self.vault.signer.public().to_string(),
            restore_key: member.restore_key.map(|key| key.to_string()).unwrap_or_default(),
            epoch: member.epoch,
            incarnation: member.incarnation,
            valid_ms: until.since(at).0,
            at_ms: at.0,
        })
    }

    /// Throws away the key of an account that no cluster came to use.
    async fn discard(&self, account: AccountKey) {
        let keys = Arc::clone(&self.keys);
        let of = account.clone();
        if let Err(error) = blocking(move || keys.remove_account(&of)).await {
            tracing::warn!(%account, error = format!("{error:#}"), "key of an unused account stays on the disk");
        }
    }
}

#[async_trait]
impl Admission for Admit {
    async fn join(&self, request: join::Request) -> Result<Joined, Refused> {
        let keys = Arc::clone(&self.keys);
        let made = blocking(move || keys.make_account()).await;
        let made = made.map_err(|error| broken("make an account", &error))?;
        let user = request.keys.user.as_str().to_owned();
        let asked = cluster::JoinRequest {
            token: request.token_digest,
            account: made.clone(),
            event_key: request.keys.event.0,
            box_key: request.keys.boxed.as_str().to_owned(),
            user_key: user.clone(),
            agent_version: request.agent_version,
            kubernetes_version: request.kubernetes_version,
        };
        // If the driver ended, nobody knows whether the account is in use: its key stays.
        let answered = self.handle.join(asked).await.map_err(|_| stopping())?;
        match answered.reply {
            Reply::Joined { account, cluster } => {
                if account == made {
                    tracing::info!(%cluster, %account, "cluster joined");
                } else {
                    self.discard(made).await;
                }
                let (member, _) = self.member(&account).await?;
                self.issue(&account, user, member).await
            }
            Reply::Refused { reason } => {
                self.discard(made).await;
                Err(Refused::new(Code::Unavailable, format!("{reason}.")))
            }
            Reply::JoinRefused(reason) => {
                self.discard(made).await;
                Err(join::refused(reason))
            }
            other => {
                tracing::error!(reply = ?other, "a join was answered with another reply");
                Err(Refused::new(Code::Unavailable, "The hub gave itself a wrong answer."))
            }
        }
    }

    async fn event_key(&self, account: &AccountKey) -> Result<PublicKey, Refused> {
        Ok(self.member(account).await?.1)
    }

    async fn renew(&self, request: RenewRequest) -> Result<Joined, Refused> {
        let (member, _) = self.member(&request.account).await?;
        if member.user_key != request.user.as_str() {
            tracing::info!(cluster = member.cluster, "agent renews with another NATS user");
        }
        self.issue(&request.account, request.user.as_str().to_owned(), member).await
    }
}

fn stopping() -> Refused {
    Refused::new(Code::Unavailable, "It is stopping.")
}

fn broken(action: &str, error: &anyhow::Error) -> Refused {
    tracing::error!(action, error = format!("{error:#}"), "join failed inside the hub");
    Refused::new(Code::Unavailable, "It could not make a credential; its own log says why.")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::nats::Error> + Send + 'static,
) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await??)
}
