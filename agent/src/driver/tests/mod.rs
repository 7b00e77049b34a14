//! What the loop and the outbox promise, over a journal and a bus in memory.

mod looping;
mod outbox;
mod room;

use std::time::Duration;
use taffrail_core::digest::Digest;
use taffrail_core::event::agent::Journal;
use taffrail_core::event::{Actor, AgentEvent, AgentFact, Context};
use taffrail_core::id::{AccountKey, ClusterName};
use taffrail_core::outbox::Outbox;
use taffrail_core::time::At;
use taffrail_proto::event::{Ledger, Numbering};
use tokio::sync::watch;

/// How long a fact may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

fn account() -> AccountKey {
    AccountKey::parse(&format!("A{}", "B".repeat(55))).unwrap()
}

fn west() -> ClusterName {
    ClusterName::parse("west").unwrap()
}

fn started(version: &str) -> AgentFact {
    AgentFact::Started { version: version.into(), kubernetes: "1.33".into(), journal: Journal::New }
}

fn event(version: &str) -> AgentEvent {
    AgentEvent { context: Context::new(Actor::Agent, At(5)), fact: started(version) }
}

/// A chain that begins, with so many bytes of room.
fn numbering(incarnation: u64, room: u64) -> Ledger {
    let (next_seq, last_hash) = (1, Digest::default());
    let chain = Numbering { account: account(), cluster: west(), incarnation, next_seq, last_hash };
    Ledger { chain, outbox: Outbox::new(room, 0, Vec::new()) }
}

/// Waits until what is shown is as wanted.
async fn until<T: Clone>(shown: &mut watch::Receiver<T>, wanted: impl FnMut(&T) -> bool) -> T {
    let found = tokio::time::timeout(PATIENCE, shown.wait_for(wanted)).await;
    found.expect("it should have happened by now").expect("whoever shows it should live").clone()
}
