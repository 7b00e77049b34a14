//! Agents without a cluster before a hub: what they say is the commonest event.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use taffrail_core::desired::Mark;
use taffrail_core::event::agent::{Phase, Status};
use taffrail_core::event::{Actor, AgentFact};
use taffrail_core::health::Health;
use taffrail_core::id::{AppId, CommitId};
use taffrail_core::node::hub::{Command, Reply};
use taffrail_core::time::At;
use taffrail_hub::driver::Handle;
use taffrail_proto::report::{Answer, open_answer};
use taffrail_proto::sign::{PublicKey, sha256};
use taffrail_testkit::sender::Sender;

/// Invites and enrols an agent.
pub(super) async fn join(agent: &Sender, handle: &Handle) -> Result<()> {
    let order = Command::Cluster(agent.invitation());
    handle.order(Actor::Person("bench".to_owned()), order).await?;
    let joined = handle.join(agent.request()).await?.reply;
    ensure!(matches!(joined, Reply::Joined { .. }), "{} could not join: {joined:?}", agent.name);
    Ok(())
}

/// A signed request with an agent's next events, as it travels.
pub(super) fn sign(agent: &mut Sender, count: usize) -> Result<Bytes> {
    let events = events(agent, count)?;
    Ok(agent.sign(events))
}

/// An agent's next events, header and payload.
pub(super) fn events(agent: &mut Sender, count: usize) -> Result<Vec<(Bytes, Bytes)>> {
    (0..count).map(|_| event(agent)).collect()
}

/// Whether an answer is the receipt for everything that an agent signed so far.
pub(super) fn check(agent: &Sender, answer: &[u8], hub: &PublicKey) -> Result<()> {
    let (answer, _) = open_answer(answer, &agent.account, hub).context("read the answer")?;
    let sent = agent.last().seq;
    let whole = matches!(answer, Answer::Receipt { seq, .. } if seq == sent);
    ensure!(whole, "{} has sent {sent} events and got {answer:?}", agent.name);
    Ok(())
}

/// A change of one app's state: about 500 bytes with its header.
fn event(agent: &mut Sender) -> Result<(Bytes, Bytes)> {
    let seq = agent.last().seq + 1;
    let app = AppId::parse(&format!("shop/app-{}", seq % 20))?;
    let status = Status {
        since: Mark { epoch: 1, generation: seq },
        digest: sha256(&seq.to_be_bytes()),
        phase: Phase::Syncing,
        health: Health::Progressing,
        message: "waiting for Deployment shop/web: 1 of 3 replicas are available".to_owned(),
        troubles: Vec::new(),
        objects: 50,
        held: Vec::new(),
        flaps: 0,
    };
    let context = agent
        .context(At(seq))
        .app(&app)
        .commit(&CommitId::parse(&format!("{:040x}", seq / 100))?)
        .trace(Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()));
    Ok(agent.event(context, AgentFact::InstanceChanged(status)))
}
