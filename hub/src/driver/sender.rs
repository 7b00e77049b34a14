//! An agent without a cluster, for tests: it joins, signs chained requests, and keeps what got no receipt.

use super::Handle;
use bytes::Bytes;
use std::collections::BTreeMap;
use taffrail_core::cluster::{self, JoinRequest, Vitals};
use taffrail_core::digest::Digest;
use taffrail_core::event::agent::Journal;
use taffrail_core::event::{Actor, AgentEvent, AgentFact, Context};
use taffrail_core::id::{AccountKey, ClusterName};
use taffrail_core::node::hub::{Command, Reply};
use taffrail_core::time::At;
use taffrail_proto::event::{Place, encode_agent};
use taffrail_proto::report::{Outgoing, encode_request, open_request};
use taffrail_proto::sign::{SigningKey, sha256};

/// Events of one request.
pub(crate) const BATCH: u64 = 3;

/// An agent without a cluster.
pub(crate) struct Sender {
    pub(crate) name: ClusterName,
    pub(crate) account: AccountKey,
    key: SigningKey,
    seq: u64,
    previous: Digest,
}

impl Sender {
    pub(crate) fn new(number: usize) -> Sender {
        let digits = [number / 25, number % 25].map(|digit| char::from(b'B' + u8::try_from(digit).unwrap()));
        Sender {
            name: ClusterName::parse(&format!("c{number}")).unwrap(),
            account: AccountKey::parse(&format!("A{}{}{}", "A".repeat(53), digits[0], digits[1])).unwrap(),
            key: SigningKey::from_seed([u8::try_from(number).unwrap(); 32]),
            seq: 0,
            previous: Digest::default(),
        }
    }

    /// Invites and enrols it.
    pub(crate) async fn join(&self, handle: &Handle) {
        let token = sha256(self.name.as_str().as_bytes());
        let (cluster, labels, expires_at) = (self.name.clone(), BTreeMap::new(), At(u64::MAX));
        let invite = cluster::Command::Invite { cluster, labels, token, expires_at };
        handle.order(Actor::Person("ann".into()), Command::Cluster(invite)).await.unwrap();
        let request = JoinRequest {
            token,
            account: self.account.clone(),
            event_key: self.key.public().0,
            box_key: "box".into(),
            user_key: "user".into(),
            agent_version: "1.0.0".into(),
            kubernetes_version: "1.33".into(),
        };
        handle.join(request).await.unwrap();
    }

    /// Its next events, each with `filling` bytes, as a signed request.
    pub(crate) fn sign(&mut self, filling: usize) -> Bytes {
        let events = (0..BATCH).map(|_| {
            self.seq += 1;
            let (version, kubernetes) = (filler(self.seq, filling), "1.33".to_owned());
            let fact = AgentFact::Started { version, kubernetes, journal: Journal::Found };
            let event = AgentEvent { context: Context::new(Actor::Agent, At(5)).cluster(&self.name), fact };
            let (account, incarnation) = (self.account.clone(), 1);
            let place = Place { account, incarnation, seq: self.seq, previous: self.previous };
            let pair = encode_agent(&event, &place);
            self.previous = sha256(&pair.0);
            pair
        });
        let outgoing = Outgoing {
            events: events.collect(),
            account: self.account.clone(),
            incarnation: 1,
            at: At(6),
            vitals: Vitals::default(),
            proof: None,
        };
        encode_request(&outgoing, &self.key).into()
    }

    /// Sends its next events, each with `filling` bytes, and returns the reply.
    pub(crate) async fn send(&mut self, handle: &Handle, filling: usize) -> Reply {
        let (seq, previous) = (self.seq, self.previous);
        let bytes = self.sign(filling);
        let incoming = open_request(&bytes, &self.account, &self.key.public()).unwrap();
        let reply = handle.events(self.account.clone(), incoming).await.unwrap().reply;
        if !matches!(reply, Reply::Receipt { .. }) {
            // The outbox keeps them.
            (self.seq, self.previous) = (seq, previous);
        }
        reply
    }
}

/// Letters without a pattern: a disk fills up with them however well it packs.
fn filler(seed: u64, length: usize) -> String {
    let mut state = seed;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'A' + u8::try_from(state >> 59).unwrap())
    };
    (0..length).map(letter).collect()
}
