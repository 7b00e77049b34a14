//! What is known of clusters, and how facts change it.

use crate::digest::Digest;
use crate::event::{HubEvent, HubFact};
use crate::id::{AccountKey, ClusterName};
use crate::time::At;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A one-time token's digest and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// SHA-256 of the token.
    pub token: Digest,
    /// When it ends.
    pub expires_at: At,
}

/// Where the chain of a cluster's events stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Incarnation of the agent's journal.
    pub incarnation: u64,
    /// Highest sequence number in the log.
    pub seq: u64,
    /// SHA-256 of the header at that number; zero before the first.
    pub hash: Digest,
}

/// Number of an event of an agent. Ordered: a later incarnation comes after every event of an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    /// Incarnation of the agent's journal.
    pub incarnation: u64,
    /// Sequence number in it.
    pub seq: u64,
}

impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.incarnation, self.seq)
    }
}

impl Chain {
    /// Number of its last event.
    pub fn number(&self) -> Number {
        Number { incarnation: self.incarnation, seq: self.seq }
    }
}

/// What a joined cluster is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// Its identity.
    pub account: AccountKey,
    /// Public Ed25519 key of its events.
    pub event_key: [u8; 32],
    /// Public X25519 key of its indexes, as text.
    pub box_key: String,
    /// Public key of its NATS user, as text.
    pub user_key: String,
    /// SHA-256 of the token that it used.
    pub token: Digest,
    /// When that token ends: until then the same exchange is answered again.
    pub expires_at: At,
    /// Version of the agent.
    pub agent_version: String,
    /// Version of Kubernetes.
    pub kubernetes_version: String,
    /// When it joined.
    pub joined_at: At,
    /// Its chain of events.
    pub chain: Chain,
}

/// One cluster of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Labels that selectors see.
    pub labels: BTreeMap<String, String>,
    /// Open invitation.
    pub invitation: Option<Invitation>,
    /// Set once joined.
    pub enrolment: Option<Enrolment>,
    /// Since when it is silent, if it is.
    pub silent_since: Option<At>,
    /// It is being emptied.
    pub leaving: bool,
    /// Earlier names.
    pub former: Vec<ClusterName>,
}

/// The fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// By name.
    pub clusters: BTreeMap<ClusterName, Cluster>,
    /// By identity.
    pub accounts: BTreeMap<AccountKey, ClusterName>,
    /// Accounts that are no longer welcome, with the time.
    pub revoked: BTreeMap<AccountKey, At>,
}

impl State {
    /// The joined cluster behind an account.
    pub fn by_account(&self, account: &AccountKey) -> Option<(&ClusterName, &Cluster, &Enrolment)> {
        let (name, cluster) = self.clusters.get_key_value(self.accounts.get(account)?)?;
        Some((name, cluster, cluster.enrolment.as_ref()?))
    }

    /// The cluster that was invited with, or joined by, a token.
    pub fn by_token(&self, token: &Digest) -> Option<(&ClusterName, &Cluster)> {
        self.clusters.iter().find(|(_, cluster)| {
            cluster.invitation.as_ref().is_some_and(|invitation| invitation.token == *token)
                || cluster.enrolment.as_ref().is_some_and(|enrolment| enrolment.token == *token)
        })
    }

    /// Why nothing is taken of an account that is no cluster's.
    pub fn stranger(&self, account: &AccountKey) -> &'static str {
        if self.revoked.contains_key(account) {
            "the cluster was removed from the fleet"
        } else {
            "the account is not of this fleet"
        }
    }

    /// Moves the chain of an account to `chain`.
    pub fn advance(&mut self, account: &AccountKey, chain: Chain) {
        let cluster = self.accounts.get(account).and_then(|name| self.clusters.get_mut(name));
        if let Some(enrolment) = cluster.and_then(|cluster| cluster.enrolment.as_mut()) {
            enrolment.chain = chain;
        }
    }
}

/// Applies one fact; facts of other machines change nothing.
pub fn evolve(state: &mut State, event: &HubEvent) {
    let Some(name) = &event.context.cluster else { return };
    match &event.fact {
        HubFact::ClusterInvited { labels, token, expires_at } => {
            let cluster = state.clusters.entry(name.clone()).or_default();
            cluster.labels.clone_from(labels);
            cluster.invitation = Some(Invitation { token: *token, expires_at: *expires_at });
        }
        HubFact::ClusterJoined {
            account,
            event_key,
            box_key,
            user_key,
            token,
            agent_version,
            kubernetes_version,
        } => {
            let cluster = state.clusters.entry(name.clone()).or_default();
            let expires_at = cluster.invitation.take().map_or(event.context.at, |open| open.expires_at);
            cluster.enrolment = Some(Enrolment {
                account: account.clone(),
                event_key: *event_key,
                box_key: box_key.clone(),
                user_key: user_key.clone(),
                token: *token,
                expires_at,
                agent_version: agent_version.clone(),
                kubernetes_version: kubernetes_version.clone(),
                joined_at: event.context.at,
                chain: Chain::default(),
            });
            state.accounts.insert(account.clone(), name.clone());
        }
        HubFact::ClusterRenamed { from, to } => rename(state, from, to),
        HubFact::ClusterLeaving => {
            state.clusters.entry(name.clone()).or_default().leaving = true;
        }
        HubFact::ClusterRemoved { account } => {
            state.clusters.remove(name);
            if let Some(account) = account {
                state.accounts.remove(account);
                state.revoked.insert(account.clone(), event.context.at);
            }
        }
        HubFact::ClusterAdopted { chain, .. } => {
            let cluster = state.clusters.get_mut(name);
            if let Some(enrolment) = cluster.and_then(|cluster| cluster.enrolment.as_mut()) {
                enrolment.chain = *chain;
            }
        }
        HubFact::ClusterSilent { heard_at } => {
            if let Some(cluster) = state.clusters.get_mut(name) {
                cluster.silent_since = Some(*heard_at);
            }
        }
        HubFact::ClusterBack { .. } => {
            if let Some(cluster) = state.clusters.get_mut(name) {
                cluster.silent_since = None;
            }
        }
        _ => {}
    }
}

fn rename(state: &mut State, from: &ClusterName, to: &ClusterName) {
    let Some(mut cluster) = state.clusters.remove(from) else { return };
    if let Some(enrolment) = &cluster.enrolment {
        state.accounts.insert(enrolment.account.clone(), to.clone());
    }
    cluster.former.push(from.clone());
    state.clusters.insert(to.clone(), cluster);
}
