//! The outbox: in order, again until the receipt, and a sign of life when there is nothing to say.

use super::{PATIENCE, account, event, numbering, until, west};
use crate::bus;
use crate::driver::number::number;
use crate::driver::{Outbox, Prover, Sent, Showing, Shown};
use crate::identity::{Keys, Member};
use crate::journal::{Error, FORKED, Journal, Memory, Write};
use crate::kube::ApiError;
use crate::park::Park;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use taffrail_core::cluster::{Chain as Head, Vitals};
use taffrail_core::desired::Mark;
use taffrail_core::digest::Digest;
use taffrail_core::node::hub::Reply;
use taffrail_core::time::{At, Span};
use taffrail_proto::journal::{Chain, Parked};
use taffrail_proto::report::{encode_gap, encode_receipt, encode_refusal, encode_reply, open_request};
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
    /// Another has used the numbers.
    Forked,
}

/// One request as the hub saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    incarnation: u64,
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
    shelf: Arc<Shelf>,
    stop: CancellationToken,
    end: JoinHandle<Result<(), Error>>,
}

/// The Secret, as it was written.
#[derive(Default)]
struct Shelf(Mutex<Vec<Option<Parked>>>);

#[async_trait]
impl Park for Shelf {
    async fn park(&self, parked: Option<Parked>) -> Result<(), ApiError> {
        self.0.lock().unwrap().push(parked);
        Ok(())
    }
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

fn answer(answer: Answer, incarnation: u64, seq: u64) -> Option<Bytes> {
    let receipt = |incarnation, seq, mark, key: &SigningKey| {
        let chain = Head { incarnation, seq, hash: Digest::default() };
        Some(encode_receipt(&account(), chain, 1, 1, mark, key))
    };
    let bytes = match answer {
        Answer::Receipt(mark) => receipt(incarnation, seq, mark, &hub_key()),
        Answer::UpTo(seq) => receipt(incarnation, seq, HELD, &hub_key()),
        Answer::Lost => None,
        Answer::Stale => receipt(incarnation - 1, seq, HELD, &hub_key()),
        Answer::Forged => receipt(incarnation, seq, HELD, &SigningKey::from_seed([2; 32])),
        Answer::Gap => Some(encode_gap(Head::default())),
        Answer::Refused => Some(encode_refusal("no")),
        Answer::Forked => {
            let reply = Reply::Forked { reason: "another event has this number".into() };
            encode_reply(&reply, &account(), 1, 1, &hub_key())
        }
    };
    bytes.map(Bytes::from)
}

/// An outbox with `events` events whose hub answers as listed, and with receipts after that.
async fn house(events: usize, answers: &[Answer], heartbeat: Duration) -> House {
    house_with(events, answers, heartbeat, None).await
}

/// The same after a run that left something in the cluster.
async fn house_with(events: usize, answers: &[Answer], heartbeat: Duration, parked: Option<Parked>) -> House {
    let journal = Arc::new(Memory::new(INCARNATION));
    let mut numbering = numbering(INCARNATION, u64::MAX);
    let written = number(&mut numbering, (0..events).map(|_| event("1.0.0")).collect());
    journal.commit(written).await.unwrap();

    let keys = Arc::new(Keys::generate().unwrap());
    let (seen, requests) = watch::channel(Vec::new());
    let answers = Mutex::new(answers.iter().copied().collect::<VecDeque<_>>());
    let (public, highest) = (keys.event.public(), Mutex::new(BTreeMap::<u64, u64>::new()));
    let bus = bus::Memory::new(move |body, _| {
        let incoming = open_request(body, &account(), &public).unwrap();
        let numbers: Vec<u64> = incoming.batch.links.iter().map(|link| link.seq).collect();
        let incarnation = incoming.batch.incarnation;
        let mut highest = highest.lock().unwrap();
        let highest = highest.entry(incarnation).or_default();
        *highest = numbers.last().copied().unwrap_or(0).max(*highest);
        let next = answers.lock().unwrap().pop_front().unwrap_or(Answer::Receipt(HELD));
        let verified = incoming.stated.map(|stated| stated.verify(&hub_key().public(), &account()).unwrap());
        let proof = verified.map(|proof| proof.chain.seq);
        let vitals = incoming.batch.vitals;
        seen.send_modify(|seen| seen.push(Request { incarnation, numbers, vitals, proof }));
        answer(next, incarnation, *highest)
    });

    let shelf = Arc::new(Shelf::default());
    let shown = watch::Sender::new(Shown { last_seq: events as u64, held: HELD, times_back: 0 });
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
        parked,
        park: shelf.clone(),
    };
    let end = tokio::spawn(outbox.run(stop.clone()));
    House { journal, requests, sent: sent.subscribe(), shown, showing, behind, removed, shelf, stop, end }
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
    assert_eq!(sent.receipted, 300);
    assert!(sent.freed > 300 * 100, "what was freed is room again: {}", sent.freed);
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
async fn whose_numbers_another_has_used_forgets_nothing_and_ends_with_a_note_for_the_next_start() {
    for told in [Answer::UpTo(9), Answer::Forked] {
        let house = house(2, &[Answer::Lost, told], NEVER).await;
        let ended = tokio::time::timeout(PATIENCE, house.end).await.unwrap().unwrap();
        assert!(matches!(ended, Err(Error::Forked { incarnation: INCARNATION })), "{told:?}: {ended:?}");
        let kept = house.journal.load().unwrap();
        assert_eq!(kept.receipted, 0, "{told:?}: what the hub has under these numbers is another's");
        assert!(kept.settings.contains_key(FORKED), "{told:?}");
    }
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
    let nothing = Request { incarnation: INCARNATION, numbers: Vec::new(), vitals, proof: None };
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
    house.shown.send_replace(Shown { last_seq: 3, held: HELD, times_back: 0 });
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

/// Events of a run before.
fn chain(incarnation: u64, count: usize) -> Chain {
    let mut numbering = numbering(incarnation, u64::MAX);
    let writes = number(&mut numbering, (0..count).map(|_| event("0.9.0")).collect());
    let Some(Write::AppendEvents { rows, .. }) = writes.into_iter().next() else { panic!("rows") };
    let events = rows.into_iter().map(|row| (row.header, row.payload)).collect();
    Chain { incarnation, from: 1, events }
}

#[tokio::test]
async fn events_of_earlier_runs_go_first_under_their_own_incarnation_and_are_then_forgotten() {
    let chains = vec![chain(1, 300), chain(2, 2)];
    let parked = Parked { chains, incarnation: 2, last_seq: 2 };
    let mut house = house_with(2, &[Answer::Lost, Answer::UpTo(100)], NEVER, Some(parked)).await;
    house.receipted(2).await;
    let requests = house.requests(5).await;
    let sent: Vec<(u64, u64, usize)> = requests
        .iter()
        .map(|request| (request.incarnation, request.numbers[0], request.numbers.len()))
        .collect();
    assert_eq!(sent, [(1, 1, 256), (1, 1, 256), (1, 101, 200), (2, 1, 2), (INCARNATION, 1, 2)]);
    assert_eq!(*house.shelf.0.lock().unwrap(), [None], "forgotten once the hub has them");
}

#[tokio::test]
async fn events_of_an_earlier_run_that_the_hub_refuses_do_not_hold_up_the_others() {
    let parked = Parked { chains: vec![chain(2, 2)], incarnation: 2, last_seq: 2 };
    let mut house = house_with(1, &[Answer::Refused], NEVER, Some(parked)).await;
    house.receipted(1).await;
}

#[tokio::test]
async fn what_could_not_be_sent_is_parked_at_the_end_behind_what_was_parked_before() {
    for old in [0, 2] {
        let chains: Vec<Chain> = (0..old).take(1).map(|_| chain(2, old)).collect();
        let parked = (old > 0).then(|| Parked { chains: chains.clone(), incarnation: 2, last_seq: 2 });
        let house = house_with(3, &[Answer::Lost; 99], NEVER, parked).await;
        house.stop.cancel();
        let House { journal, shelf, end, .. } = house;
        tokio::time::timeout(PATIENCE, end).await.unwrap().unwrap().unwrap();
        let rows = journal.outbox_from(1, 10, u64::MAX).unwrap();
        let events = rows.into_iter().map(|row| (row.header, row.payload)).collect();
        let mut wanted = chains;
        wanted.push(Chain { incarnation: INCARNATION, from: 1, events });
        let wanted = Parked { chains: wanted, incarnation: INCARNATION, last_seq: 3 };
        assert_eq!(*shelf.0.lock().unwrap(), [Some(wanted)]);
    }
}
