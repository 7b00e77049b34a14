//! What the driver promises, over a log in memory whose disk can be held up and can break.
//!
//! One thread runs everything: after a few yields nothing can move any more unless the test moves it.

use super::{Driver, Gone, Handle, Performer, ReplayError, SHORT, replay, replay_known};
use crate::log::{self, Keys, Log as _, Memory, Record, Room};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use taffrail_core::catalog::{Declared, Destination, Listing, Reading, Render, Root, SyncPolicy};
use taffrail_core::cluster::{self, JoinRequest, Vitals};
use taffrail_core::digest::Digest;
use taffrail_core::event::agent::Journal;
use taffrail_core::event::{Actor, AgentEvent, AgentFact, Context};
use taffrail_core::id::{AccountKey, AppName, ClusterName, CommitId, SourceName};
use taffrail_core::node::hub::{Command, Durable, Effect, Hub, Input, Outcome, Rendered, Reply, Settings};
use taffrail_core::source::{self, Sighting, Track};
use taffrail_core::time::{At, Span};
use taffrail_proto::event::{Place, encode_agent};
use taffrail_proto::report::{Incoming, Outgoing, decode_body, encode_body, encode_request, open_request};
use taffrail_proto::sign::{Domain, SigningKey, sha256};
use taffrail_proto::v1;
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};
use tokio_util::sync::CancellationToken;

/// Yields after which whatever can happen has happened: far more than the tasks of a test.
const YIELDS: usize = 200;

struct Recorder(Arc<Mutex<Vec<Effect>>>);

impl Performer for Recorder {
    fn perform(&mut self, effect: Effect) {
        self.0.lock().unwrap().push(effect);
    }
}

struct Running {
    log: Arc<Memory>,
    handle: Handle,
    shown: watch::Receiver<u64>,
    effects: Arc<Mutex<Vec<Effect>>>,
    stop: CancellationToken,
    end: JoinHandle<Result<(), log::Error>>,
}

/// A driver over what the log says, running.
fn run(log: Arc<Memory>) -> Running {
    let hub = Hub::new(replay(&*log).unwrap(), Settings { lease: Span::secs(30) });
    let (driver, handle, shown) = Driver::new(hub, log.clone());
    let (effects, stop) = (Arc::<Mutex<Vec<Effect>>>::default(), CancellationToken::new());
    let (mut recorder, stopped) = (Recorder(effects.clone()), stop.clone());
    let end = tokio::spawn(async move { driver.run(&mut recorder, stopped).await });
    Running { log, handle, shown, effects, stop, end }
}

impl Running {
    /// Adds a source in a task of its own; it ends with the reply and the index.
    fn add(&self, source: &str) -> JoinHandle<Result<(Reply, u64), Gone>> {
        let (handle, order) = (self.handle.clone(), add(source));
        tokio::spawn(async move {
            let answered = handle.order(ann(), order).await?;
            Ok((answered.reply, answered.index))
        })
    }

    async fn order(&self, command: Command) -> Reply {
        self.handle.order(ann(), command).await.unwrap().reply
    }

    async fn input(&self, input: Input) {
        self.handle.post().input(input).await.unwrap();
    }

    async fn state(&self) -> Durable {
        self.handle.look(|hub, _| hub.state().clone()).await.unwrap()
    }

    fn effects(&self) -> Vec<Effect> {
        self.effects.lock().unwrap().clone()
    }
}

async fn settle() {
    for _ in 0..YIELDS {
        yield_now().await;
    }
}

fn ann() -> Actor {
    Actor::Person("ann".into())
}

fn track(source: &str) -> Track {
    Track { url: format!("https://git.example/{source}"), revision: "main".into() }
}

fn add(source: &str) -> Command {
    let name = SourceName::parse(source).unwrap();
    Command::Source(source::Command::Add { source: name, track: track(source), path: String::new() })
}

fn done(index: u64) -> (Reply, u64) {
    (Reply::Done { index, changed: true }, index)
}

fn follow(sources: &[&str]) -> Effect {
    Effect::Follow(sources.iter().map(|source| track(source)).collect::<BTreeSet<_>>())
}

fn account() -> AccountKey {
    AccountKey::parse(&format!("A{}", "B".repeat(55))).unwrap()
}

fn key() -> SigningKey {
    SigningKey::from_seed([7; 32])
}

fn west() -> ClusterName {
    ClusterName::parse("west").unwrap()
}

/// A signed request with one `AgentStarted` per version.
fn request(versions: &[&str]) -> (Vec<(bytes::Bytes, bytes::Bytes)>, Incoming) {
    let (mut previous, mut events) = (Digest::default(), Vec::new());
    for (version, seq) in versions.iter().zip(1..) {
        let (version, kubernetes) = ((*version).to_owned(), "1.33".to_owned());
        let fact = AgentFact::Started { version, kubernetes, journal: Journal::New };
        let event = AgentEvent { context: Context::new(Actor::Agent, At(5)).cluster(&west()), fact };
        let (header, payload) =
            encode_agent(&event, &Place { account: account(), incarnation: 1, seq, previous });
        previous = sha256(&header);
        events.push((header, payload));
    }
    let outgoing = Outgoing {
        account: account(),
        incarnation: 1,
        at: At(6),
        vitals: Vitals::default(),
        events: events.clone(),
        proof: None,
    };
    let bytes = encode_request(&outgoing, &key());
    (events, open_request(&bytes, &account(), &key().public()).unwrap())
}

async fn join(running: &Running) {
    let token = sha256(b"token");
    let (labels, expires_at) = (BTreeMap::from([("tier".into(), "edge".into())]), At(u64::MAX));
    let invite = cluster::Command::Invite { cluster: west(), labels, token, expires_at };
    running.order(Command::Cluster(invite)).await;
    let request = JoinRequest {
        token,
        account: account(),
        event_key: key().public().0,
        box_key: "box".into(),
        user_key: "user".into(),
        agent_version: "1.0.0".into(),
        kubernetes_version: "1.33".into(),
    };
    let reply = running.handle.join(request).await.unwrap().reply;
    assert_eq!(reply, Reply::Joined { cluster: west(), account: account() });
}

#[tokio::test]
async fn replies_looks_and_effects_wait_until_their_batch_is_durable() {
    let running = run(Arc::default());
    running.log.hold();
    let order = running.add("one");
    let handle = running.handle.clone();
    let look = tokio::spawn(async move { handle.look(|hub, _| hub.state().index).await });
    settle().await;
    assert_eq!(running.log.next_index(), 2, "the batch is in the disk's hands");
    assert!(!order.is_finished() && !look.is_finished());
    assert_eq!((running.effects(), *running.shown.borrow()), (Vec::new(), 0));
    running.log.release();
    assert_eq!(order.await.unwrap().unwrap(), done(1));
    assert_eq!(look.await.unwrap().unwrap(), 1);
    assert_eq!((running.effects(), *running.shown.borrow()), (vec![follow(&["one"])], 1));
}

#[tokio::test]
async fn inputs_that_wait_together_become_one_batch_and_two_batches_are_in_flight() {
    let running = run(Arc::default());
    running.log.hold();
    let mut orders: Vec<_> = ["a", "b", "c", "d", "e"].map(|source| running.add(source)).into();
    settle().await;
    assert_eq!(running.log.next_index(), 6, "five inputs in at most two batches");
    for (source, next) in [("f", 7), ("g", 7), ("h", 7)] {
        orders.push(running.add(source));
        settle().await;
        assert_eq!(running.log.next_index(), next, "{source}: the third batch waits for the first");
    }
    running.log.release();
    for (order, index) in orders.into_iter().zip(1..) {
        assert_eq!(order.await.unwrap().unwrap().0, done(index).0);
    }
    assert_eq!(*running.shown.borrow(), 8);
}

#[tokio::test]
async fn a_failed_append_ends_the_loop_and_releases_nothing() {
    let running = run(Arc::default());
    running.log.hold();
    let orders = ["one", "two"].map(|source| running.add(source));
    settle().await;
    running.log.fail();
    assert!(running.end.await.unwrap().unwrap_err().is_fatal());
    for order in orders {
        assert_eq!(order.await.unwrap(), Err(Gone));
    }
    assert_eq!(*running.effects.lock().unwrap(), []);
    assert_eq!(running.handle.order(ann(), add("three")).await, Err(Gone));
}

#[tokio::test]
async fn a_stop_lets_the_batches_in_flight_become_durable() {
    let running = run(Arc::default());
    running.log.hold();
    let order = running.add("one");
    settle().await;
    running.stop.cancel();
    settle().await;
    assert!(!running.end.is_finished() && !order.is_finished());
    running.log.release();
    running.end.await.unwrap().unwrap();
    assert_eq!(order.await.unwrap().unwrap(), done(1));
    assert_eq!(*running.effects.lock().unwrap(), [follow(&["one"])]);
}

/// Everything from a source to an index on a cluster.
async fn live(running: &Running) {
    running.input(Input::Started { version: "1.0.0".into(), epoch: 1 }).await;
    running.order(add("shop")).await;
    join(running).await;
    let (source, commit) = (SourceName::parse("shop").unwrap(), CommitId::parse(&"a".repeat(40)).unwrap());
    running
        .input(Input::Sighted(Sighting {
            track: track("shop"),
            also: vec!["HEAD".into()],
            commit: commit.clone(),
            head: None,
            descends: true,
            author: "Ben <ben@example.com>".into(),
            subject: "Sell more".into(),
            committed_at: At(3),
            trace: Some("00-trace".into()),
        }))
        .await;
    let app = Declared {
        name: AppName::parse("web").unwrap(),
        repo_url: track("shop").url,
        path: "web".into(),
        target_revision: "main".into(),
        render: Render::Auto,
        destination: Destination::Cluster(west()),
        namespace: Some("shop".into()),
        sync: SyncPolicy { automated: true, ..SyncPolicy::default() },
        max_deletes: None,
    };
    let listing = Listing { apps: vec![app], rest: false, notes: vec!["a note".into()] };
    let roots = BTreeMap::from([(Root::Directory, Ok(listing))]);
    running.input(Input::Read(Reading { source, commit, roots, cause: Some(5), trace: None })).await;
    settle().await;
    let effects = running.effects();
    let variant = effects.iter().find_map(|effect| match effect {
        Effect::Render { variant, commit, .. } => Some((variant.clone(), commit.clone())),
        _ => None,
    });
    let (variant, commit) = variant.expect("what is placed is to be rendered");
    let (digest, sealed, inputs) = (sha256(b"content"), sha256(b"sealed"), vec!["web".into()]);
    let outcome = Outcome::Sealed { digest, sealed, size: 10, objects: 2, inputs };
    running.input(Input::Rendered(Rendered { variant, commit, outcome })).await;
    running.handle.events(account(), request(&["1.0.0", "1.0.1"]).1).await.unwrap();
    running.handle.forged(account(), "no signature".into(), 1, 3).await.unwrap();
}

#[tokio::test]
async fn the_log_becomes_the_same_state_again() {
    let running = run(Arc::default());
    live(&running).await;
    let state = running.state().await;
    assert_eq!(state.planner.fleet[&west()].index.entries.len(), 1, "the history goes all the way");
    assert_eq!(replay(&*running.log).unwrap(), state);
    running.stop.cancel();
    running.end.await.unwrap().unwrap();
    let again = run(running.log);
    assert_eq!(*again.shown.borrow(), state.index);
    assert_eq!(again.state().await, state);
    again.order(add("more")).await;
    assert_eq!(replay(&*again.log).unwrap(), again.state().await);
}

#[tokio::test]
async fn agents_events_are_stored_byte_for_byte_with_the_signature_on_the_last() {
    let running = run(Arc::default());
    join(&running).await;
    let (events, incoming) = request(&["1.0.0", "1.0.1", "1.0.2"]);
    let answered = running.handle.events(account(), incoming.clone()).await.unwrap();
    assert!(matches!(answered.reply, Reply::Receipt { chain, .. } if chain.seq == 3), "{answered:?}");
    let stored = running.log.read(answered.index - 2, 10).unwrap();
    assert_eq!(stored.len(), events.len());
    for (position, (stored, (header, payload))) in stored.iter().zip(&events).enumerate() {
        let signature = if position == 2 { incoming.signature.to_vec() } else { Vec::new() };
        assert_eq!(stored.header, header);
        assert_eq!(decode_body(&stored.payload).unwrap(), (payload.to_vec(), signature));
    }
    key().public().verify(Domain::Event, &stored[2].header, &incoming.signature).unwrap();
}

fn record(header: &[u8]) -> Record {
    let (header, payload) = (header.to_vec().into(), encode_body(b"", b"").into());
    Record { appended_at: At(1), header, payload, keys: Keys::default(), own: true }
}

#[test]
fn a_kind_that_is_not_known_is_skipped_unless_it_must_be_understood() {
    let future = v1::Header {
        kind: "FromTheFuture".into(),
        actor: "hub".into(),
        payload_digest: sha256(b"").0.to_vec(),
        ..v1::Header::default()
    };
    let place = v1::Header { account: account().to_string(), incarnation: 1, seq: 1, ..future.clone() };
    let of_agent = v1::Header { previous: vec![0; 32], ..place };
    let strict = |header: &v1::Header| v1::Header { must_understand: true, ..header.clone() };
    let unknown = "its kind FromTheFuture is not known to this version and must be understood";
    let cases = [
        (future.encode_to_vec(), None),
        (of_agent.encode_to_vec(), None),
        (strict(&future).encode_to_vec(), Some(format!("read event 2: {unknown}"))),
        (strict(&of_agent).encode_to_vec(), Some(format!("read event 2: {unknown}"))),
        (b"no header".to_vec(), Some("read event 2".into())),
    ];
    for (header, refused) in cases {
        let log = Memory::default();
        log.append(1, vec![record(&future.encode_to_vec()), record(&header)]).wait().unwrap();
        match (replay(&log), refused) {
            (Ok(state), None) => assert_eq!((state.index, state.appended_at), (2, At(1))),
            (Err(error), Some(refused)) => {
                let known = replay_known(&log);
                if header.starts_with(b"no") {
                    assert!(known.is_err(), "what cannot be read is no newer version");
                } else {
                    let (state, newer) = known.unwrap();
                    assert_eq!((state.index, newer.map(|newer| newer.index)), (1, Some(2)));
                }
                let text = taffrail_runtime::telemetry::chain(&error);
                assert!(text.starts_with(&refused), "{text}");
                let index = match error {
                    ReplayError::Event { index, .. } => index,
                    ReplayError::Read { from, .. } => from,
                };
                assert_eq!(index, 2);
            }
            (found, refused) => panic!("{found:?} where {refused:?} is due"),
        }
    }
}

#[tokio::test]
async fn while_the_disk_is_nearly_full_questions_are_answered_and_nothing_is_decided() {
    let running = run(Arc::default());
    running.order(add("one")).await;
    running.log.set_room(Room::Short { free: 1, reserve: 2 });
    let before = running.log.next_index();
    running.input(Input::Started { version: "1.0.0".into(), epoch: 1 }).await;
    assert_eq!(running.order(add("two")).await, Reply::Refused { reason: SHORT.into() });
    let state = running.state().await;
    assert_eq!((state.planner.epoch, state.sources.sources.len()), (0, 1));
    assert_eq!(running.log.next_index(), before);
    running.log.set_room(Room::Enough);
    assert_eq!(running.state().await.planner.epoch, 1, "what waited is taken before a question");
    assert!(matches!(running.order(add("two")).await, Reply::Done { changed: true, .. }));
}
