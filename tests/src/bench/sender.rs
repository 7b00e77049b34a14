//! Agents without a cluster behind them: enrolled clusters that sign chained requests.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use std::collections::BTreeMap;
use taffrail_core::cluster::{Command as Order, JoinRequest, Vitals};
use taffrail_core::desired::Mark;
use taffrail_core::digest::Digest;
use taffrail_core::event::agent::{Phase, Status};
use taffrail_core::event::{Actor, AgentEvent, AgentFact, Context};
use taffrail_core::health::Health;
use taffrail_core::id::{AccountKey, AppId, ClusterName, CommitId};
use taffrail_core::node::hub::{Command, Reply};
use taffrail_core::time::At;
use taffrail_hub::driver::Handle;
use taffrail_proto::event::{Place, encode_agent};
use taffrail_proto::report::{Answer, Outgoing, encode_request, open_answer};
use taffrail_proto::sign::{PublicKey, SigningKey, sha256};

/// One enrolled cluster.
pub(super) struct Sender {
    /// Its identity.
    pub(super) account: AccountKey,
    /// Its name.
    pub(super) cluster: ClusterName,
    key: SigningKey,
    seq: u64,
    previous: Digest,
}

impl Sender {
    /// The cluster with this number.
    ///
    /// # Errors
    /// The operating system has no random bytes.
    pub(super) fn new(number: usize) -> Result<Sender> {
        Ok(Sender {
            account: account(number)?,
            cluster: ClusterName::parse(&format!("cluster-{number:05}"))?,
            key: SigningKey::generate()?,
            seq: 0,
            previous: Digest::default(),
        })
    }

    /// The key that its requests are verified with.
    pub(super) fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// Invites and enrols it.
    pub(super) async fn join(&self, handle: &Handle) -> Result<()> {
        let token = sha256(self.cluster.as_str().as_bytes());
        let labels = BTreeMap::from([("tier".to_owned(), "edge".to_owned())]);
        let order = Order::Invite { cluster: self.cluster.clone(), labels, token, expires_at: At(u64::MAX) };
        handle.order(Actor::Person("bench".to_owned()), Command::Cluster(order)).await?;
        let joined = handle.join(self.request(token)).await?.reply;
        ensure!(matches!(joined, Reply::Joined { .. }), "{} could not join: {joined:?}", self.cluster);
        Ok(())
    }

    fn request(&self, token: Digest) -> JoinRequest {
        JoinRequest {
            token,
            account: self.account.clone(),
            event_key: self.key.public().0,
            box_key: "X".repeat(56),
            user_key: "U".repeat(56),
            agent_version: "1.0.0".to_owned(),
            kubernetes_version: "1.34.0".to_owned(),
        }
    }

    /// Its next events, header and payload.
    pub(super) fn events(&mut self, count: usize) -> Result<Vec<(Bytes, Bytes)>> {
        (0..count).map(|_| self.event()).collect()
    }

    /// A signed request with its next events, as it travels.
    pub(super) fn sign(&mut self, count: usize) -> Result<Bytes> {
        let outgoing = Outgoing {
            account: self.account.clone(),
            incarnation: 1,
            at: At(1),
            vitals: Vitals { held: Mark { epoch: 1, generation: 1 }, waiting: 0 },
            events: self.events(count)?,
            proof: None,
        };
        Ok(encode_request(&outgoing, &self.key).into())
    }

    /// Whether an answer is the receipt for everything that was signed so far.
    pub(super) fn check(&self, answer: &[u8], hub: &PublicKey) -> Result<()> {
        let (answer, _) = open_answer(answer, &self.account, hub).context("read the answer")?;
        let whole = matches!(answer, Answer::Receipt { seq, .. } if seq == self.seq);
        ensure!(whole, "{} has sent {} events and got {answer:?}", self.cluster, self.seq);
        Ok(())
    }

    /// A change of one app's state: the commonest event, about 500 bytes with its header.
    fn event(&mut self) -> Result<(Bytes, Bytes)> {
        self.seq += 1;
        let app = AppId::parse(&format!("shop/app-{}", self.seq % 20))?;
        let status = Status {
            since: Mark { epoch: 1, generation: self.seq },
            digest: sha256(&self.seq.to_be_bytes()),
            phase: Phase::Syncing,
            health: Health::Progressing,
            message: "waiting for Deployment shop/web: 1 of 3 replicas are available".to_owned(),
            troubles: Vec::new(),
            objects: 50,
            held: Vec::new(),
            flaps: 0,
        };
        let context = Context::new(Actor::Agent, At(self.seq))
            .cluster(&self.cluster)
            .app(&app)
            .commit(&CommitId::parse(&format!("{:040x}", self.seq / 100))?)
            .trace(Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()));
        let event = AgentEvent { context, fact: AgentFact::InstanceChanged(status) };
        let place =
            Place { account: self.account.clone(), incarnation: 1, seq: self.seq, previous: self.previous };
        let (header, payload) = encode_agent(&event, &place);
        self.previous = sha256(&header);
        Ok((header, payload))
    }
}

/// An account key of the right form for a number.
fn account(number: usize) -> Result<AccountKey> {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = vec![b'A'; 56];
    let mut rest = number;
    for place in text.iter_mut().rev().take(12) {
        *place = DIGITS[rest % 32];
        rest /= 32;
    }
    Ok(AccountKey::parse(&String::from_utf8(text)?)?)
}
