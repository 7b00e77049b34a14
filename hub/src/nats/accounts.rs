//! What the hub's account exports, what a cluster's account imports, and how the server learns of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use futures::future::try_join_all;
use nkeys::KeyPair;
use serde_json::{Map, Value, json};
use taffrail_core::id::{AccountKey, ClusterName};
use taffrail_core::time::At;
use taffrail_proto::subject;

use super::keys::{Keys, UserKey};
use super::{Error, jwt};

/// Connections of one cluster: its agent, and the one that replaces it during an update.
const CONNECTIONS_MAX: u32 = 2;
/// Subscriptions of one cluster; an agent has about five.
const SUBSCRIPTIONS_MAX: u32 = 50;
/// Imports of one cluster: the four exports of the hub.
const IMPORTS_MAX: u32 = 4;
/// Largest message, in bytes: nats-server's own default.
pub const PAYLOAD_MAX: u32 = 1024 * 1024;
/// Accounts that are pushed at the same time.
const PUSHES_MAX: usize = 16;
/// Longest wait for the server's word on one account.
const PUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer to a push that is looked at, in bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// What the server has to know of one cluster's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its public key.
    pub account: AccountKey,
    /// Its name for people.
    pub name: ClusterName,
    /// Users that are cut off, each with the time up to which JWTs made for it are refused.
    pub revoked: BTreeMap<UserKey, At>,
}

/// Body of the hub's account: `JetStream`, and four exports for the whole fleet.
pub(super) fn hub_account() -> Value {
    let service = |subject: &str| json!({ "name": subject, "subject": subject, "type": "service" });
    let placed = |subject: &str, kind: &str, position: u32| json!({ "name": subject, "subject": subject, "type": kind, "account_token_position": position });
    json!({
        "exports": [
            placed(subject::GET_DESIRED_ALL, "service", subject::GET_DESIRED_ACCOUNT),
            service(subject::GET_BUNDLES_ALL),
            placed(subject::DESIRED_ALL, "stream", subject::ACCOUNT),
            placed(subject::EVENTS_ALL, "service", subject::ACCOUNT),
        ],
        "limits": jwt::limits(&json!({
            "exports": 4, "imports": 0, "conn": -1, "leaf": 0, "subs": -1, "payload": -1,
            "disk_storage": -1, "streams": -1, "consumer": -1,
        })),
        "default_permissions": {},
        "type": "account",
        "version": 2,
    })
}

/// Body of one cluster's account: imports with its own key only, no exports, no `JetStream`; its users are
/// signed by `signing_key`, and what they may do stands on that key.
fn cluster_account(cluster: &Cluster, signing_key: &str, hub: &str) -> Value {
    let account = &cluster.account;
    let import = |subject: String, kind: &str| json!({ "name": subject, "subject": subject, "account": hub, "type": kind });
    let revoked: Map<String, Value> =
        cluster.revoked.iter().map(|(user, at)| (user.to_string(), json!(at.0.div_ceil(1_000)))).collect();
    json!({
        "imports": [
            import(subject::get_desired(account), "service"),
            import(subject::GET_BUNDLES_ALL.to_owned(), "service"),
            import(subject::desired(account), "stream"),
            import(subject::events(account), "service"),
        ],
        "limits": jwt::limits(&json!({
            "imports": IMPORTS_MAX, "exports": 0, "conn": CONNECTIONS_MAX, "leaf": 0,
            "subs": SUBSCRIPTIONS_MAX, "payload": PAYLOAD_MAX,
        })),
        "signing_keys": [{
            "kind": "user_scope",
            "key": signing_key,
            "role": "agent",
            "template": {
                "pub": { "allow": [
                    subject::get_desired(account),
                    subject::GET_BUNDLES_ALL,
                    subject::events(account),
                ] },
                "sub": { "allow": [format!("{}.>", subject::inbox(account)), subject::desired(account)] },
                "subs": SUBSCRIPTIONS_MAX, "data": -1, "payload": PAYLOAD_MAX,
                "allowed_connection_types": ["STANDARD"],
            },
        }],
        "revocations": revoked,
        "default_permissions": {},
        "type": "account",
        "version": 2,
    })
}

/// Tells the server about accounts, over a connection of the system account. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Accounts {
    keys: Arc<Keys>,
    client: Client,
}

impl Accounts {
    /// Accounts made with `keys`, told over `client`, which has to be logged in with [`Keys::system_login`].
    pub fn new(keys: Arc<Keys>, client: Client) -> Accounts {
        Accounts { keys, client }
    }

    /// Puts one cluster's account in force, with the users revoked so far cut off at once. Safe to repeat.
    ///
    /// # Errors
    /// [`Error::NoAccount`] if the account was not made here, [`Error::Push`] if the server does not answer,
    /// [`Error::Refused`] if it says no.
    pub async fn push(&self, cluster: &Cluster, at: At) -> Result<(), Error> {
        let signing = self.keys.account_key(&cluster.account)?;
        let body = cluster_account(cluster, &signing.public_key(), &self.keys.hub_account());
        let about = about(cluster.account.as_str(), cluster.name.as_str(), at);
        self.tell(subject::CLAIMS_UPDATE, jwt::encode(self.keys.operator(), about, body)?).await
    }

    /// Puts many accounts in force, 16 at a time: at the start, and after the server has lost them.
    ///
    /// # Errors
    /// The first error of [`Accounts::push`]; the others may be in force.
    pub async fn push_all(&self, clusters: &[Cluster], at: At) -> Result<(), Error> {
        for some in clusters.chunks(PUSHES_MAX) {
            try_join_all(some.iter().map(|cluster| self.push(cluster, at))).await?;
        }
        Ok(())
    }

    /// Puts the hub's own account in force on a server that was not configured by the hub.
    ///
    /// # Errors
    /// [`Error::Push`] and [`Error::Refused`].
    pub async fn push_hub(&self, at: At) -> Result<(), Error> {
        let hub = self.keys.hub_account();
        let jwt = jwt::encode(self.keys.operator(), about(&hub, "taffrail hub", at), hub_account())?;
        self.tell(subject::CLAIMS_UPDATE, jwt).await
    }

    /// Ends an account for good: cuts off every user of it, has the server forget it, removes its signing key.
    /// Safe to repeat.
    ///
    /// # Errors
    /// As [`Accounts::push`], and [`Error::Write`] if the key stays.
    pub async fn remove(&self, account: &AccountKey, at: At) -> Result<(), Error> {
        let body = json!({
            "limits": jwt::limits(&json!({
                "imports": 0, "exports": 0, "conn": 0, "leaf": 0, "subs": 0, "payload": 0,
            })),
            "revocations": { "*": at.0.div_ceil(1_000) },
            "default_permissions": {},
            "type": "account",
            "version": 2,
        });
        let about_removed = about(account.as_str(), "removed", at);
        self.tell(subject::CLAIMS_UPDATE, jwt::encode(self.keys.operator(), about_removed, body)?).await?;
        let operator = self.keys.operator();
        let order = jwt::forget(&[account.as_str()]);
        let jwt = jwt::encode(operator, about(&operator.public_key(), "forget accounts", at), order)?;
        self.tell(subject::CLAIMS_DELETE, jwt).await?;
        self.keys.remove_account(account)
    }

    async fn tell(&self, subject: &'static str, jwt: String) -> Result<(), Error> {
        let request = async_nats::client::Request::new().payload(jwt.into()).timeout(Some(PUSH_TIMEOUT));
        let reply = self.client.send_request(subject, request).await.map_err(Error::Push)?;
        let answer: Value = serde_json::from_slice(&reply.payload[..reply.payload.len().min(ANSWER_MAX)])
            .unwrap_or(Value::Null);
        if answer["data"]["code"] == json!(200) {
            return Ok(());
        }
        let reason = answer["error"]["description"].as_str().unwrap_or("no reason given");
        Err(Error::Refused { reason: reason.chars().take(300).collect() })
    }
}

fn about<'a>(subject: &'a str, name: &'a str, at: At) -> jwt::About<'a> {
    jwt::About { subject, name, at, expires: None }
}

/// A public key of an account, checked whole, from a fresh key pair.
pub(super) fn account_key(pair: &KeyPair) -> AccountKey {
    AccountKey::parse(&pair.public_key()).expect("nkeys writes accounts as A and 55 of base32")
}
