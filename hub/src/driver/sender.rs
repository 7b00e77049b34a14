//! Agents without a cluster before a hub's driver, for tests.

use super::Handle;
use bytes::Bytes;
use taffrail_core::event::Actor;
use taffrail_core::event::AgentFact;
use taffrail_core::event::agent::Journal;
use taffrail_core::node::hub::{Command, Reply};
use taffrail_core::time::At;
use taffrail_proto::report::open_request;
use taffrail_testkit::sender::Sender;

/// Events of one request.
pub(crate) const BATCH: u64 = 3;

/// Invites and enrols an agent.
pub(crate) async fn join(agent: &Sender, handle: &Handle) {
    let order = Command::Cluster(agent.invitation());
    handle.order(Actor::Person("ann".into()), order).await.unwrap();
    handle.join(agent.request()).await.unwrap();
}

/// An agent's next events, each with `filling` bytes, as a signed request.
pub(crate) fn sign(agent: &mut Sender, filling: usize) -> Bytes {
    let next = |_| {
        let version = filler(agent.last().seq + 1, filling);
        let fact = AgentFact::Started { version, kubernetes: "1.33".to_owned(), journal: Journal::Found };
        agent.event(agent.context(At(5)), fact)
    };
    let events = (0..BATCH).map(next).collect();
    agent.sign(events)
}

/// Sends an agent's next events, each with `filling` bytes, and returns the reply.
pub(crate) async fn send(agent: &mut Sender, handle: &Handle, filling: usize) -> Reply {
    let before = agent.last();
    let bytes = sign(agent, filling);
    let incoming = open_request(&bytes, &agent.account, &agent.public()).unwrap();
    let reply = handle.events(agent.account.clone(), incoming).await.unwrap().reply;
    if !matches!(reply, Reply::Receipt { .. }) {
        // The outbox keeps them.
        agent.back_to(before);
    }
    reply
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
