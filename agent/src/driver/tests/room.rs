//! An outbox without room: the agent goes on, what is numbered stays, what is not is counted.

use super::looping::{Running, index, mark, run_with, settle, web};
use super::{numbering, started, until};
use crate::driver::number::number;
use crate::journal::{Journal, Memory, Write};
use std::sync::Arc;
use taffrail_core::desired::Permit;
use taffrail_core::event::agent::Refusal;
use taffrail_core::event::{Actor, AgentEvent, AgentFact, Context};
use taffrail_core::node::agent::Act;
use taffrail_core::time::At;
use taffrail_proto::event::{Decoded, Numbered, decode, decode_header};
use taffrail_proto::sign::sha256;

/// About the length of one refusal of an index, in bytes.
fn event_bytes() -> u64 {
    let fact = AgentFact::IndexRefused { mark: mark(1), reason: Refusal::BadSignature };
    let event = AgentEvent { context: Context::new(Actor::Agent, At(1_800_000_000_000)), fact };
    match &number(&mut numbering(3, u64::MAX), vec![event])[..] {
        [Write::AppendEvents { rows, .. }] => rows[0].length(),
        other => panic!("{other:?}"),
    }
}

/// Facts by number, with the chain checked.
fn facts(rows: &[Numbered]) -> Vec<AgentFact> {
    let fact = |row: &Numbered| {
        let header = decode_header(&row.header).unwrap();
        match decode(&header, &row.payload).unwrap() {
            Decoded::Agent(event) => event.fact,
            other => panic!("{other:?}"),
        }
    };
    for pair in rows.windows(2) {
        let place = decode_header(&pair[1].header).unwrap().place.unwrap();
        assert_eq!((place.seq, place.previous), (pair[0].seq + 1, sha256(&pair[0].header)));
    }
    rows.iter().map(fact).collect()
}

fn folds(journal: &dyn Journal) -> Vec<String> {
    journal.load().unwrap().settings.into_keys().collect()
}

async fn refuse(running: &Running, reasons: &[Refusal]) {
    for (generation, reason) in (1..).zip(reasons) {
        running.handle.bad_index(mark(generation), *reason).await;
    }
}

/// All receipts at once: what was numbered leaves, and its bytes are room again.
async fn receive(running: &mut Running) -> Vec<Numbered> {
    let rows = running.journal.outbox_from(1, 1_000, u64::MAX).unwrap();
    let bytes: u64 = rows.iter().map(Numbered::length).sum();
    let seq = rows.last().unwrap().seq;
    running.journal.commit(vec![Write::Receipt { seq }]).await.unwrap();
    running.sent.send_modify(|sent| {
        sent.receipted = seq;
        sent.freed += bytes;
    });
    rows
}

const ALL: [Refusal; 5] =
    [Refusal::BadSignature, Refusal::OtherCluster, Refusal::Lower, Refusal::NoGrant, Refusal::Equivocation];

#[tokio::test]
async fn a_full_outbox_counts_what_repeats_and_leaves_its_reserve_to_transitions() {
    let mut running = run_with(Arc::new(Memory::new(3)), 4 * event_bytes() + 20);
    refuse(&running, &ALL).await;
    running.wait_for_events(4).await;
    settle().await;
    assert_eq!(folds(&*running.journal), ["fold//IndexRefused"]);
    let mut rows = receive(&mut running).await;
    running.wait_for_events(5).await;
    assert_eq!(folds(&*running.journal), [""; 0]);
    let journal = running.stop().await;
    rows.extend(journal.outbox_from(1, 1_000, u64::MAX).unwrap());
    let kinds: Vec<&str> = facts(&rows).iter().map(AgentFact::kind).collect();
    let refused = "IndexRefused";
    assert_eq!(kinds[..4], [refused, refused, refused, "Equivocation"], "a transition has its reserve");
    assert_eq!(kinds[4..], [refused], "nothing was before it in the fold");
}

#[tokio::test]
async fn without_any_room_the_agent_goes_on_and_every_fact_is_told_or_counted_after_a_restart_too() {
    let mut running = run_with(Arc::new(Memory::new(3)), 0);
    refuse(&running, &ALL).await;
    running.start("1.0.0").await;
    running.handle.index(index(1, Some(sha256(b"content"))), Permit::None).await;
    until(&mut running.shown, |shown| shown.held == mark(1)).await;
    settle().await;
    let acts = running.seen.lock().unwrap().clone();
    assert!(acts.iter().any(|(act, _)| matches!(act, Act::Instance { app, .. } if *app == web())), "it acts");
    let journal = running.stop().await;
    assert_eq!(journal.load().unwrap().next_seq, 1, "nothing is numbered");
    let waiting = ["fold//AgentStarted", "fold//Equivocation", "fold//IndexRefused"];
    assert_eq!(folds(&*journal), waiting);

    let mut running = run_with(journal, u64::MAX);
    running.start("2.0.0").await;
    running.wait_for_events(5).await;
    let journal = running.stop().await;
    assert_eq!(folds(&*journal), [""; 0]);
    let told = facts(&journal.outbox_from(1, 1_000, u64::MAX).unwrap());
    let count = |of: &str| -> u32 {
        let counted = |fact: &AgentFact| match fact {
            AgentFact::FactsFolded { kind, count, .. } if kind == of => *count,
            fact => u32::from(fact.kind() == of),
        };
        told.iter().map(counted).sum()
    };
    assert_eq!((count("AgentStarted"), count("Equivocation"), count("IndexRefused")), (2, 1, 4), "{told:?}");
    assert_eq!(told.last(), Some(&started("2.0.0")));
}
