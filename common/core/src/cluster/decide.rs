//! What may happen to clusters.

use super::state::{Cluster, State};
use crate::digest::Digest;
use crate::event::{Actor, Context, HubEvent, HubFact};
use crate::id::{AccountKey, ClusterName};
use crate::time::At;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A person's order about a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Let a cluster join with a token.
    Invite {
        /// Its name.
        cluster: ClusterName,
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// SHA-256 of the token.
        token: Digest,
        /// When the token ends.
        expires_at: At,
    },
    /// Give it another name.
    Rename {
        /// The name now.
        from: ClusterName,
        /// The name to be.
        to: ClusterName,
        /// Whether a root in Git uses the old name.
        root_in_git: bool,
    },
    /// Let it go and leave its objects.
    Remove(ClusterName),
    /// Take its objects away first.
    Empty(ClusterName),
}

/// Why an order about a cluster is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It has joined already.
    #[error("cluster {0} has joined already")]
    Joined(ClusterName),
    /// There is no such cluster.
    #[error("there is no cluster {0}")]
    Unknown(ClusterName),
    /// The new name is taken.
    #[error("there is a cluster {0} already")]
    NameTaken(ClusterName),
    /// Git still uses the old name.
    #[error("a root in Git still uses the name {0}")]
    RootInGit(ClusterName),
    /// It never joined, so there is nothing to take away.
    #[error("cluster {0} never joined")]
    NeverJoined(ClusterName),
}

/// Decides a person's order.
///
/// # Errors
/// [`Rejected`] with the reason; the state is unchanged then.
pub fn decide(state: &State, command: &Command, actor: &Actor, at: At) -> Result<Vec<HubEvent>, Rejected> {
    let event =
        |name: &ClusterName, fact| HubEvent { context: Context::new(actor.clone(), at).cluster(name), fact };
    let known = |name: &ClusterName| -> Result<&Cluster, Rejected> {
        state.clusters.get(name).ok_or_else(|| Rejected::Unknown(name.clone()))
    };
    match command {
        Command::Invite { cluster, labels, token, expires_at } => {
            if state.clusters.get(cluster).is_some_and(|known| known.enrolment.is_some()) {
                return Err(Rejected::Joined(cluster.clone()));
            }
            let (labels, token, expires_at) = (labels.clone(), *token, *expires_at);
            Ok(alloc::vec![event(cluster, HubFact::ClusterInvited { labels, token, expires_at })])
        }
        Command::Rename { from, to, root_in_git } => {
            known(from)?;
            if state.clusters.contains_key(to) {
                return Err(Rejected::NameTaken(to.clone()));
            }
            if *root_in_git {
                return Err(Rejected::RootInGit(from.clone()));
            }
            Ok(alloc::vec![event(from, HubFact::ClusterRenamed { from: from.clone(), to: to.clone() })])
        }
        Command::Remove(name) => {
            let account = known(name)?.enrolment.as_ref().map(|enrolment| enrolment.account.clone());
            Ok(alloc::vec![event(name, HubFact::ClusterRemoved { account })])
        }
        Command::Empty(name) => {
            let cluster = known(name)?;
            if cluster.enrolment.is_none() {
                return Err(Rejected::NeverJoined(name.clone()));
            }
            if cluster.leaving {
                return Ok(Vec::new());
            }
            Ok(alloc::vec![event(name, HubFact::ClusterLeaving)])
        }
    }
}

/// What an agent presents to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// SHA-256 of the token.
    pub token: Digest,
    /// A fresh account for it, used if the token is accepted for the first time.
    pub account: AccountKey,
    /// Public Ed25519 key of its events.
    pub event_key: [u8; 32],
    /// Public X25519 key of its indexes, as text.
    pub box_key: String,
    /// Public key of its NATS user, as text.
    pub user_key: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Version of Kubernetes.
    pub kubernetes_version: String,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// No cluster was invited with it.
    #[error("the token is not one of this hub")]
    Foreign,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// Another agent has used it.
    #[error("the token has been used")]
    Used,
}

/// Decides whether a token is exchanged. The same agent asking again (its reply was lost) is answered again
/// without a new fact; anybody else is refused, which is a fact.
///
/// # Errors
/// [`TokenRefused`] and the fact that records it.
pub fn join(
    state: &State,
    request: &JoinRequest,
    at: At,
) -> Result<(ClusterName, Option<HubEvent>), (TokenRefused, Box<HubEvent>)> {
    let refuse = |reason: TokenRefused, name: Option<&ClusterName>| {
        let mut context = Context::new(Actor::Agent, at);
        context.cluster = name.cloned();
        let fact = HubFact::JoinRefused { token: request.token, reason: reason.to_string() };
        Err((reason, Box::new(HubEvent { context, fact })))
    };
    let Some((name, cluster)) = state.by_token(&request.token) else {
        return refuse(TokenRefused::Foreign, None);
    };
    if let Some(enrolment) = &cluster.enrolment {
        let same = enrolment.event_key == request.event_key && enrolment.user_key == request.user_key;
        return if same && at < enrolment.expires_at {
            Ok((name.clone(), None))
        } else {
            refuse(TokenRefused::Used, Some(name))
        };
    }
    if cluster.invitation.as_ref().is_none_or(|invitation| invitation.expires_at <= at) {
        return refuse(TokenRefused::Expired, Some(name));
    }
    let event = HubEvent {
        context: Context::new(Actor::Agent, at).cluster(name),
        fact: HubFact::ClusterJoined {
            account: request.account.clone(),
            event_key: request.event_key,
            box_key: request.box_key.clone(),
            user_key: request.user_key.clone(),
            token: request.token,
            agent_version: request.agent_version.clone(),
            kubernetes_version: request.kubernetes_version.clone(),
        },
    };
    Ok((name.clone(), Some(event)))
}
