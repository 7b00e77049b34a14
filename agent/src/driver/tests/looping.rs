//! The loop: first the journal, then the world; numbers and hashes without gaps.

use super::{account, started, until, west};
use crate::driver::{Driver, Driving, Handle, Performer, Sent, Showing, Shown};
use crate::journal::{Error, Journal, Memory, Snapshot, Write};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use taffrail_core::catalog::MaxDeletes;
use taffrail_core::desired::{Entry, Index, Mark, Permit, Policy};
use taffrail_core::digest::Digest;
use taffrail_core::event::AgentFact;
use taffrail_core::event::agent::{Journal as Found, Refusal};
use taffrail_core::id::{AppId, CommitId};
use taffrail_core::node::agent::{Act, Agent, Held, Input};
use taffrail_core::sync::Limits;
use taffrail_proto::event::{Decoded, Numbered, decode, decode_header};
use taffrail_proto::index::{Terms, Verified};
use taffrail_proto::sign::sha256;
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};
use tokio_util::sync::CancellationToken;

/// Yields after which whatever can happen has happened: far more than the tasks of a test.
const YIELDS: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Runs,
    Held,
    Broken,
}

/// A journal whose disk can be held up and can break.
struct Slow {
    inner: Memory,
    disk: watch::Sender<Disk>,
}

impl Slow {
    fn new(inner: Memory) -> Arc<Slow> {
        Arc::new(Slow { inner, disk: watch::Sender::new(Disk::Runs) })
    }
}

#[async_trait]
impl Journal for Slow {
    async fn commit(&self, writes: Vec<Write>) -> Result<(), Error> {
        let mut disk = self.disk.subscribe();
        let disk = *disk.wait_for(|disk| *disk != Disk::Held).await.unwrap();
        if disk == Disk::Broken {
            return Err(Error::WrongSeq { seq: 0, next: 0 });
        }
        self.inner.commit(writes).await
    }

    fn load(&self) -> Result<Snapshot, Error> {
        self.inner.load()
    }

    fn outbox_from(&self, seq: u64, max_count: u32, max_bytes: u64) -> Result<Vec<Numbered>, Error> {
        self.inner.outbox_from(seq, max_count, max_bytes)
    }

    fn bundle(&self, digest: &Digest) -> Result<Option<Vec<Digest>>, Error> {
        self.inner.bundle(digest)
    }

    fn body(&self, content: &Digest) -> Result<Option<Bytes>, Error> {
        self.inner.body(content)
    }
}

/// Looks into the journal at every act.
struct Looker {
    journal: Arc<dyn Journal>,
    seen: Arc<Mutex<Vec<(Act, Snapshot)>>>,
    took: Arc<Mutex<Vec<Mark>>>,
}

impl Performer for Looker {
    fn perform(&mut self, act: Act) {
        self.seen.lock().unwrap().push((act, self.journal.load().unwrap()));
    }

    fn took(&mut self, verified: &Verified) {
        self.took.lock().unwrap().push(verified.index.mark);
    }
}

pub(super) struct Running {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) handle: Handle,
    pub(super) shown: watch::Receiver<Shown>,
    pub(super) showing: watch::Receiver<Showing>,
    pub(super) sent: watch::Sender<Sent>,
    pub(super) seen: Arc<Mutex<Vec<(Act, Snapshot)>>>,
    took: Arc<Mutex<Vec<Mark>>>,
    stop: CancellationToken,
    end: JoinHandle<Result<(), Error>>,
}

/// A driver over what the journal holds, running. Instances start anew: they are not what is looked at.
pub(super) fn run(journal: Arc<dyn Journal>) -> Running {
    run_with(journal, u64::MAX)
}

/// The same with so many bytes of room in the outbox.
pub(super) fn run_with(journal: Arc<dyn Journal>, room: u64) -> Running {
    let agent = Agent::new(Held::default(), BTreeMap::new(), Limits::default());
    let snapshot = journal.load().unwrap();
    let sent = watch::Sender::default();
    let driving = Driving {
        agent,
        journal: journal.clone(),
        snapshot,
        account: account(),
        cluster: west(),
        room,
        sent: sent.subscribe(),
    };
    let (driver, handle, shown) = Driver::new(driving).unwrap();
    let showing = driver.showing();
    let (seen, took) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
    let mut looker = Looker { journal: journal.clone(), seen: seen.clone(), took: took.clone() };
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let end = tokio::spawn(async move { driver.run(&mut looker, stopped).await });
    Running { journal, handle, shown, showing, sent, seen, took, stop, end }
}

impl Running {
    pub(super) async fn start(&self, version: &str) {
        let AgentFact::Started { version, kubernetes, .. } = started(version) else { unreachable!() };
        self.handle.input(Input::Started { version, kubernetes, journal: Found::New }).await;
    }

    pub(super) async fn wait_for_events(&mut self, count: u64) {
        until(&mut self.shown, |shown| shown.last_seq >= count).await;
    }

    pub(super) async fn stop(self) -> Arc<dyn Journal> {
        self.stop.cancel();
        self.end.await.unwrap().unwrap();
        self.journal
    }
}

pub(super) async fn settle() {
    for _ in 0..YIELDS {
        yield_now().await;
    }
}

pub(super) fn mark(generation: u64) -> Mark {
    Mark { epoch: 1, generation }
}

pub(super) fn web() -> AppId {
    AppId::parse("shop/web").unwrap()
}

/// An index with one app, or none.
pub(super) fn index(generation: u64, bundle: Option<Digest>) -> Verified {
    let entry = |digest| Entry {
        since: mark(generation),
        digest,
        sealed: sha256(b"sealed"),
        commit: CommitId::parse(&"a".repeat(40)).unwrap(),
        policy: Policy {
            namespace: "web".into(),
            create_namespace: false,
            prune: true,
            self_heal: true,
            allow_empty: false,
            max_deletes: MaxDeletes::Percent(20),
        },
        approved: None,
        withdrawn: None,
        trace: None,
    };
    let entries = bundle.map(|digest| (web(), entry(digest))).into_iter().collect();
    let signed = format!("signed {generation}").into_bytes();
    let index = Index { mark: mark(generation), entries };
    let (keys, terms) = (BTreeMap::new(), Terms::default());
    Verified { index, digest: sha256(&signed), keys, signed, terms }
}

#[tokio::test]
async fn the_journal_is_written_before_anything_is_done() {
    let journal = Slow::new(Memory::new(3));
    let running = run(journal.clone());
    journal.disk.send_replace(Disk::Held);
    running.start("1.0.0").await;
    running.handle.index(index(1, Some(sha256(b"content"))), Permit::None).await;
    settle().await;
    assert_eq!(*running.seen.lock().unwrap(), []);
    assert_eq!(*running.shown.borrow(), Shown::default());
    journal.disk.send_replace(Disk::Runs);
    settle().await;
    let seen = running.seen.lock().unwrap().clone();
    assert!(seen.iter().any(|(act, _)| matches!(act, Act::Instance { app, .. } if *app == web())));
    for (act, snapshot) in seen {
        assert_eq!(snapshot.index.as_deref(), Some(b"signed 1".as_slice()), "{act:?}");
        assert_eq!(snapshot.mark.map(|mark| (mark.epoch, mark.generation)), Some((1, 1)), "{act:?}");
        assert!(snapshot.instances.contains_key("shop/web"), "{act:?}");
        assert!(snapshot.next_seq > 1, "{act:?}: the start was recorded");
    }
    let next_seq = journal.load().unwrap().next_seq;
    assert_eq!(*running.shown.borrow(), Shown { last_seq: next_seq - 1, held: mark(1), times_back: 0 });
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_ends_the_loop_and_nothing_is_done() {
    let journal = Slow::new(Memory::new(3));
    journal.disk.send_replace(Disk::Broken);
    let running = run(journal.clone());
    running.handle.index(index(1, Some(sha256(b"content"))), Permit::None).await;
    running.end.await.unwrap().unwrap_err();
    assert_eq!(*running.seen.lock().unwrap(), []);
    assert_eq!(*running.shown.borrow(), Shown::default());
}

#[tokio::test]
async fn an_index_is_taken_once_and_an_older_one_never() {
    let mut running = run(Arc::new(Memory::new(3)));
    for generation in [2, 2, 1] {
        running.handle.index(index(generation, None), Permit::None).await;
    }
    running.wait_for_events(1).await; // The older one is refused, which is an event.
    assert_eq!(*running.took.lock().unwrap(), [mark(2)]);
    let snapshot = running.stop().await.load().unwrap();
    assert_eq!(snapshot.index.as_deref(), Some(b"signed 2".as_slice()));
}

#[tokio::test]
async fn bundles_that_no_instance_needs_any_more_leave_with_the_index() {
    let (old, new) = (sha256(b"old"), sha256(b"new"));
    let journal = Arc::new(Memory::new(3));
    let put = |digest| Write::PutBundle { digest, bodies: vec![(digest, Bytes::from_static(b"body"))] };
    journal.commit(vec![put(old), put(new)]).await.unwrap();
    let mut running = run(journal.clone());
    running.handle.index(index(1, Some(new)), Permit::None).await;
    until(&mut running.shown, |shown| shown.held == mark(1)).await;
    assert_eq!(journal.load().unwrap().bundles.keys().collect::<Vec<_>>(), [&new]);
}

#[tokio::test]
async fn numbers_have_no_gaps_and_hashes_are_chained_across_a_restart() {
    let mut journal: Arc<dyn Journal> = Arc::new(Memory::new(3));
    let mut count = 0;
    for run_number in 1..=3 {
        let mut running = run(journal);
        assert_eq!(running.shown.borrow().last_seq, count);
        running.start(&format!("{run_number}.0.0")).await;
        for generation in 1..=run_number {
            running.handle.bad_index(mark(generation), Refusal::BadSignature).await;
        }
        running.wait_for_events(count + 2).await;
        settle().await;
        count = running.shown.borrow().last_seq;
        journal = running.stop().await;
    }
    let rows = journal.outbox_from(1, 100, u64::MAX).unwrap();
    assert_eq!(rows.len() as u64, count);
    let (mut previous, mut versions) = (Digest::default(), Vec::new());
    for (row, seq) in rows.iter().zip(1..) {
        let header = decode_header(&row.header).unwrap();
        let place = header.place.clone().unwrap();
        assert_eq!((row.seq, place.seq, place.incarnation), (seq, seq, 3));
        assert_eq!((place.previous, place.account), (previous, account()), "event {seq}");
        assert_eq!(header.context.cluster, Some(west()));
        assert_eq!(header.payload_digest, sha256(&row.payload));
        previous = sha256(&row.header);
        if let Ok(Decoded::Agent(event)) = decode(&header, &row.payload)
            && let AgentFact::Started { version, .. } = event.fact
        {
            versions.push(version);
        }
    }
    assert_eq!(versions, ["1.0.0", "2.0.0", "3.0.0"]);
    let snapshot = journal.load().unwrap();
    assert_eq!((snapshot.next_seq, snapshot.last_hash), (count + 1, previous));
}

#[tokio::test]
async fn an_index_that_waits_is_journalled_beside_the_one_in_force_until_it_is_adopted() {
    let journal: Arc<dyn Journal> = Arc::new(Memory::new(3));
    let mut running = run(journal.clone());
    running.start("1.0.0").await;
    running.handle.index(index(1, None), Permit::None).await;
    running.wait_for_events(1).await;
    let restored = |generation: u64| {
        let mut verified = index(generation, None);
        verified.index.mark.epoch = 2;
        verified
    };
    let mut showing = running.showing.clone();
    running.handle.index(restored(2), Permit::Restore).await;
    let shows = until(&mut showing, |showing| showing.pending.epoch == 2).await;
    assert_eq!((shows.asked, shows.signed), (1, Some(Bytes::from_static(b"signed 1"))));
    let kept = journal.load().unwrap();
    assert_eq!(kept.index.as_deref(), Some(&b"signed 1"[..]), "what is in force stays");
    assert_eq!(kept.settings["waiting-index"], "signed 2");
    running.handle.index(restored(3), Permit::Adopted).await;
    until(&mut showing, |showing| showing.pending == Mark::default()).await;
    let kept = journal.load().unwrap();
    assert_eq!((kept.index.as_deref(), kept.settings["waiting-index"].len()), (Some(&b"signed 3"[..]), 0));

    let mut other = restored(3);
    other.digest = sha256(b"other");
    running.handle.index(other, Permit::Adopted).await;
    running.wait_for_events(2).await;
    assert_eq!(journal.load().unwrap().settings["equivocation-epoch"], 2u64.to_be_bytes()[..]);
}
