//! The outbox: in order, again until the receipt, and a sign of life when there is nothing to say.

use super::{PATIENCE, account, event, until, west};
use crate::bus;
use crate::driver::number::number;
use crate::driver::{Outbox, Prover, Sent, Showing, Shown};
use crate::identity::{Keys, Member};
use crate::journal::{Error, Journal, Memory};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use taffrail_core::cluster::{Chain, Vitals};
use taffrail_core::desired::Mark;
use taffrail_core::digest::Digest;
use taffrail_core::time::{At, Span};
use taffrail_proto::event::Numbering;
use taffrail_proto::report::{encode_gap, encode_receipt, encode_refusal, open_request};
use taffrail_proto::sign::SigningKey;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const INCARNATION: u64 = 3;
const HELD: Mark = Mark { epoch: 1, generation: 4 };
const NEWER: Mark = Mark { epoch: 1, generation: 5 };

/// A pause that does not end within a test.
const NEVER: Duration = Duration::from_hours(1);

/// How the hub answers one request.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// It has everything, and names the index that the cluster should hold.
    Receipt(Mark),
    /// It has the events up to this one.
    UpTo(u64),
    /// The answer does not arrive.
    Lost,
    /// A receipt of another incarnation.
    Stale,
    /// A receipt that somebody else signed.
    Forged,
    /// Something is missing.
    Gap,
    /// The request is refused.
    Refused,
}

/// One request as the hub saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    numbers: Vec<u64>,
    vitals: Vitals,
    /// What was shown, with the number up to which the agent has receipts.
    proof: Option<u64>,
}

struct House {
    journal: Arc<Memory>,
    requests: watch::Receiver<Vec<Request>>,
    sent: watch::Receiver<Sent>,
    shown: watch::Sender<Shown>,
    showing: watch::Sender<Showing>,
    behind: Arc<Notify>,
    removed: CancellationToken,
    stop: CancellationToken,
    end: JoinHandle<Result<(), Error>>,
}

fn hub_key() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

fn member() -> Member {
    Member {
        cluster: west(),
        account: account(),
        nats_jwt: String::new(),
        nats_urls: Vec::new(),
        ca_pem: String::new(),
        hub_key: hub_key().public(),
        restore_key: None,
        epoch: 1,
        incarnation: INCARNATION,
        received_at: At(0),
        valid: Span::secs(3_600),
    }
}

fn answer(answer: Answer, seq: u64) -> Option<Bytes> {
    let receipt = |incarnation, seq, mark, key: &SigningKey| {
        let chain = Chain { incarnation, seq, hash: Digest::default() };
        Some(encode_receipt(&account(), chain, 1, 1, mark, key))
    };
    let bytes = match answer {
        Answer::Receipt(mark) => receipt(INCARNATION, seq, mark, &hub_key()),
        Answer::UpTo(seq) => receipt(INCARNATION, seq, HELD, &hub_key()),
        Answer::Lost => None,
        Answer::Stale => receipt(INCARNATION - 1, seq, HELD, &hub_key()),
        Answer::Forged => receipt(INCARNATION, seq, HELD, &SigningKey::from_seed([2; 32])),
        Answer::Gap => Some(encode_gap(Chain::default())),
        Answer::Refused => Some(encode_refusal("no")),
    };
    bytes.map(Bytes::from)
}

/// An outbox with `events` events whose hub answers as listed, and with receipts after that.
async fn house(events: usize, answers: &[Answer], heartbeat: Duration) -> House {
    let journal = Arc::new(Memory::new(INCARNATION));
    let mut numbering = Numbering {
        account: account(),
        cluster: west(),
        incarnation: INCARNATION,
        next_seq: 1,
        last_hash: Digest::default(),
    };
    let written = number(&mut numbering, (0..events).map(|_| event("1.0.0")).collect());
    journal.commit(written.into_iter().collect()).await.unwrap();

    let keys = Arc::new(Keys::generate().unwrap());
    let (seen, requests) = watch::channel(Vec::new());
    let answers = Mutex::new(answers.iter().copied().collect::<VecDeque<_>>());
    let (public, highest) = (keys.event.public(), Mutex::new(0));
    let bus = bus::Memory::new(move |body, _| {
        let incoming = open_request(body, &account(), &public).unwrap();
        let numbers: Vec<u64> = incoming.batch.links.iter().map(|link| link.seq).collect();
        let mut highest = highest.lock().unwrap();
        *highest = numbers.last().copied().unwrap_or(0).max(*highest);
        let next = answers.lock().unwrap().pop_front().unwrap_or(Answer::Receipt(HELD));
        let verified = incoming.stated.map(|stated| stated.verify(&hub_key().public(), &account()).unwrap());
        let proof = verified.map(|proof| proof.chain.seq);
        seen.send_modify(|seen| seen.push(Request { numbers, vitals: incoming.batch.vitals, proof }));
        answer(next, *highest)
    });

    let shown = watch::Sender::new(Shown { last_seq: events as u64, held: HELD });
    let showing = watch::Sender::new(Showing { head: (0, Digest::default()), ..Showing::default() });
    let (sent, behind, stop) = (watch::Sender::default(), Arc::new(Notify::new()), CancellationToken::new());
    let removed = CancellationToken::new();
    let outbox = Outbox {
        journal: journal.clone(),
        bus: Arc::new(bus),
        keys,
        member: watch::Sender::new(Arc::new(member())).subscribe(),
        incarnation: INCARNATION,
        heartbeat,
        shown: shown.subscribe(),
        behind: behind.clone(),
        removed: removed.clone(),
        sent: sent.clone(),
        prover: Prover::new(showing.subscribe(), None),
    };
    let end = tokio::spawn(outbox.run(stop.clone()));
    House { journal, requests, sent: sent.subscribe(), shown, showing, behind, removed, stop, end }
}

impl House {
    async fn receipted(&mut self, seq: u64) {
        until(&mut self.sent, |sent| sent.receipted >= seq).await;
    }

    async fn requests(&mut self, count: usize) -> Vec<Request> {
        until(&mut self.requests, |requests| requests.len() >= count).await
    }

    fn left(&self) -> Vec<u64> {
        self.journal.outbox_from(1, 1_000, u64::MAX).unwrap().iter().map(|row| row.seq).collect()
    }
}

fn numbers(requests: &[Request]) -> Vec<Vec<u64>> {
    requests.iter().map(|request| request.numbers.clone()).collect()
}

#[tokio::test]
async fn events_are_sent_in_order_and_a_receipt_removes_them() {
    let mut house = house(300, &[], NEVER).await;
    house.receipted(300).await;
    assert_eq!(house.left(), [0; 0]);
    let requests = house.requests(2).await;
    assert_eq!(numbers(&requests), [(1..=256).collect::<Vec<_>>(), (257..=300).collect()]);
    let vitals = |waiting| Vitals { held: HELD, waiting };
    assert_eq!([requests[0].vitals, requests[1].vitals], [vitals(300), vitals(44)]);
    let sent = until(&mut house.sent, |sent| sent.connected).await;
    assert_eq!(sent, Sent { receipted: 300, connected: true });
}

#[tokio::test]
async fn without_a_receipt_the_same_events_are_sent_again() {
    for first in [Answer::Lost, Answer::Stale, Answer::Forged, Answer::Gap, Answer::Refused] {
        let mut house = house(2, &[first], NEVER).await;
        house.requests(1).await;
        house.receipted(2).await;
        let requests = house.requests(2).await;
        assert_eq!(numbers(&requests), [[1, 2], [1, 2]], "{first:?}");
        assert_eq!(house.left(), [0; 0], "{first:?}");
    }
}

#[tokio::test]
async fn what_a_receipt_does_not_cover_is_sent_again() {
    let mut house = house(3, &[Answer::UpTo(2)], NEVER).await;
    house.receipted(3).await;
    assert_eq!(numbers(&house.requests(2).await), [vec![1, 2, 3], vec![3]]);
}

#[tokio::test]
async fn a_receipt_beyond_what_was_sent_removes_only_what_was_sent() {
    let mut house = house(2, &[Answer::UpTo(9)], NEVER).await;
    house.receipted(2).await;
    assert_eq!((house.left(), house.journal.load().unwrap().receipted), (vec![], 2));
}

#[tokio::test]
async fn a_mark_beyond_ours_wakes_whoever_fetches_indexes() {
    let mut house = house(0, &[Answer::Receipt(HELD), Answer::Receipt(NEWER)], NEVER).await;
    until(&mut house.sent, |sent| sent.connected).await;
    let woken = tokio::time::timeout(Duration::ZERO, house.behind.notified()).await;
    assert!(woken.is_err(), "the mark that is held wakes nobody");
    house.shown.send_modify(|shown| shown.held = HELD); // A change, if to the same: one more request.
    tokio::time::timeout(PATIENCE, house.behind.notified()).await.unwrap();
    assert_eq!(house.requests(2).await.len(), 2);
}

#[tokio::test]
async fn a_sign_of_life_goes_out_when_there_is_nothing_to_say() {
    let mut house = house(0, &[], Duration::from_millis(1)).await;
    let vitals = Vitals { held: HELD, waiting: 0 };
    let nothing = Request { numbers: Vec::new(), vitals, proof: None };
    assert_eq!(house.requests(3).await[..3], [nothing.clone(), nothing.clone(), nothing]);
}

#[tokio::test]
async fn what_is_left_is_sent_after_the_stop_if_the_hub_answers() {
    for (answers, left) in [(vec![], vec![]), (vec![Answer::Lost; 9], (1..=300).collect())] {
        let house = house(300, &answers, NEVER).await;
        house.stop.cancel();
        let House { journal, end, .. } = house;
        tokio::time::timeout(PATIENCE, end).await.unwrap().unwrap().unwrap();
        let rows = journal.outbox_from(1, 1_000, u64::MAX).unwrap();
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), left, "{answers:?}");
    }
}

#[tokio::test]
async fn after_the_removal_of_the_cluster_nothing_is_sent_and_nothing_is_forgotten() {
    let mut house = house(2, &[Answer::Refused, Answer::Refused], NEVER).await;
    house.requests(1).await;
    house.removed.cancel();
    house.shown.send_replace(Shown { last_seq: 3, held: HELD });
    assert!(!house.end.is_finished(), "it waits for the end of the process");
    house.stop.cancel();
    tokio::time::timeout(PATIENCE, house.end).await.unwrap().unwrap().unwrap();
    assert!(house.requests.borrow().len() <= 2, "one more was under way at most");
    assert_eq!(house.journal.outbox_from(1, 1_000, u64::MAX).unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_asked_for_is_shown_once_without_events_and_again_while_an_index_waits() {
    let mut house = house(2, &[], NEVER).await;
    house.receipted(2).await;
    let shown =
        |requests: &[Request]| requests.iter().filter_map(|request| request.proof).collect::<Vec<_>>();
    // The head of the chain is what the last receipt covers.
    house.showing.send_modify(|showing| (showing.asked, showing.head) = (1, (2, Digest([4; 32]))));
    let requests = house.requests(2).await;
    assert_eq!(shown(&requests), [2], "{requests:?}");
    assert!(requests.iter().all(|request| request.proof.is_none() || request.numbers.is_empty()));
    house.showing.send_modify(|showing| showing.came += 1);
    let requests = house.requests(3).await;
    assert_eq!(shown(&requests), [2], "an index that came is a reason to speak and not to show");
}

#[tokio::test]
async fn a_hub_that_knows_less_than_it_signed_is_shown_so() {
    let older = Mark { epoch: 1, generation: 3 };
    let mut house =
        house(1, &[Answer::Receipt(older), Answer::Receipt(older)], Duration::from_millis(5)).await;
    house.receipted(1).await;
    house.showing.send_modify(|showing| showing.head = (1, Digest([4; 32])));
    until(&mut house.requests, |requests| requests.iter().any(|request| request.proof == Some(1))).await;
}
