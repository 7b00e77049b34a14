//! An agent without a cluster: it has an identity and signs chained requests.

use bytes::Bytes;
use std::collections::BTreeMap;
use taffrail_core::cluster::{Command, JoinRequest, Vitals};
use taffrail_core::desired::Mark;
use taffrail_core::digest::Digest;
use taffrail_core::event::{Actor, AgentEvent, AgentFact, Context};
use taffrail_core::id::{AccountKey, ClusterName};
use taffrail_core::time::At;
use taffrail_proto::event::{Place, encode_agent};
use taffrail_proto::report::{Outgoing, encode_request};
use taffrail_proto::sign::{PublicKey, SigningKey, sha256};

/// Letters of an account key.
const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// One agent. What it says depends on its number alone.
pub struct Sender {
    /// Its cluster.
    pub name: ClusterName,
    /// Its identity.
    pub account: AccountKey,
    key: SigningKey,
    last: Last,
}

/// The last event that was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// Its number in the chain; 0 before the first.
    pub seq: u64,
    /// Hash of its header.
    pub hash: Digest,
}

impl Sender {
    /// The agent with this number.
    ///
    /// # Panics
    /// Never: every number makes a valid name and account key.
    pub fn new(number: usize) -> Sender {
        let name = format!("c{number}");
        Sender {
            account: account(number),
            key: SigningKey::from_seed(sha256(name.as_bytes()).0),
            name: ClusterName::parse(&name).expect("a letter and digits are a name"),
            last: Last::default(),
        }
    }

    /// The key that its requests are verified with.
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// The last event that was made.
    pub fn last(&self) -> Last {
        self.last
    }

    /// Makes the next events follow `last` again, as an outbox does that got no receipt.
    pub fn back_to(&mut self, last: Last) {
        self.last = last;
    }

    /// The order that invites its cluster; the invitation never ends.
    pub fn invitation(&self) -> Command {
        let labels = BTreeMap::from([("tier".to_owned(), "edge".to_owned())]);
        let (token, expires_at) = (self.token(), At(u64::MAX));
        Command::Invite { cluster: self.name.clone(), labels, token, expires_at }
    }

    /// With what it joins once invited.
    pub fn request(&self) -> JoinRequest {
        JoinRequest {
            token: self.token(),
            account: self.account.clone(),
            event_key: self.public().0,
            box_key: "X".repeat(56),
            user_key: "U".repeat(56),
            agent_version: "1.0.0".to_owned(),
            kubernetes_version: "1.34.0".to_owned(),
        }
    }

    /// A context of its events: the agent, this time, its cluster.
    pub fn context(&self, at: At) -> Context {
        Context::new(Actor::Agent, at).cluster(&self.name)
    }

    /// Its next event, header and payload.
    pub fn event(&mut self, context: Context, fact: AgentFact) -> (Bytes, Bytes) {
        let place = Place {
            account: self.account.clone(),
            incarnation: 1,
            seq: self.last.seq + 1,
            previous: self.last.hash,
        };
        let (header, payload) = encode_agent(&AgentEvent { context, fact }, &place);
        self.last = Last { seq: place.seq, hash: sha256(&header) };
        (header, payload)
    }

    /// A signed request with these events, as it travels.
    pub fn sign(&self, events: Vec<(Bytes, Bytes)>) -> Bytes {
        let outgoing = Outgoing {
            account: self.account.clone(),
            incarnation: 1,
            at: At(1),
            vitals: Vitals { held: Mark { epoch: 1, generation: 1 }, waiting: 0 },
            events,
            proof: None,
        };
        encode_request(&outgoing, &self.key).into()
    }

    fn token(&self) -> Digest {
        sha256(self.name.as_str().as_bytes())
    }
}

/// An account key of the right form for a number.
fn account(number: usize) -> AccountKey {
    let mut text = [b'A'; 56];
    let mut rest = number;
    for place in text.iter_mut().rev().take(12) {
        *place = DIGITS[rest % DIGITS.len()];
        rest /= DIGITS.len();
    }
    let text = text.map(char::from).iter().collect::<String>();
    AccountKey::parse(&text).expect("56 letters that begin with A are an account key")
}
