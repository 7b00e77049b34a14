//! What only a log on disk promises: it survives its process, and says so when it cannot be used.

use super::super::conformance::{conformance, record};
use super::super::{Keys, Memory};
use super::*;
use crate::driver::sender::{join, send};
use crate::driver::{Driver, Performer, replay};
use proptest::prelude::*;
use rocksdb::statistics::Ticker;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use taffrail_core::node::hub::{Effect, Hub, Reply, Settings as HubSettings};
use taffrail_core::time::Span;
use taffrail_testkit::sender::Sender;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Names the folder to the child process of the kill test; its absence makes the child's test do nothing.
const CRASH_FOLDER: &str = "TAFFRAIL_TEST_CRASH_FOLDER";

/// Events in one batch of the kill test; the parent checks that no batch is cut.
const CRASH_BATCH: u64 = 5;

struct Idle;

impl Performer for Idle {
    fn perform(&mut self, _: Effect) {}
}

fn open(folder: &Path) -> Rocks {
    try_open(folder).unwrap()
}

/// The log stands in a folder below, so that its witness beside it goes with the test's folder.
fn try_open(folder: &Path) -> Result<Rocks, Error> {
    Rocks::open(&place(folder), 0, Box::new(|error| panic!("the log ended: {error}")))
}

fn place(folder: &Path) -> std::path::PathBuf {
    folder.join("log")
}

fn fresh() -> (Rocks, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (open(folder.path()), folder)
}

conformance! { fresh() }

#[test]
fn what_was_written_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let digest = Digest([4; 32]);
    for round in 0..3 {
        let log = open(folder.path());
        assert_eq!(log.next_index(), 1 + 2 * round);
        assert_eq!(log.last_at(), At(round * 10));
        assert_eq!(*log.durable().borrow(), 2 * round);
        let batch = vec![record(5 + round * 10, "K", ["c"; 4]), record(10 + round * 10, "L", [""; 4])];
        // Not waited for: closing writes what is queued.
        drop(log.append(1 + 2 * round, batch));
        drop(log.put_blob(digest, Bytes::from(vec![1; 10_000 + usize::try_from(round).unwrap()])));
    }
    let log = open(folder.path());
    assert_eq!(log.read(1, 100).unwrap().len(), 6);
    let filter = Filter { cluster: Some("c".into()), newest_first: true, limit: 10, ..Filter::default() };
    let found: Vec<u64> = log.query(&filter).unwrap().iter().map(|event| event.index).collect();
    assert_eq!(found, [5, 3, 1]);
    assert_eq!(log.get_blob(&digest).unwrap().unwrap().len(), 10_002);
}

#[test]
fn a_second_opening_is_refused_and_says_who_has_it() {
    let (log, folder) = fresh();
    let error = try_open(folder.path()).err().unwrap();
    assert!(matches!(&error, Error::InUse { holder, .. } if holder == "this process"), "{error}");
    drop(log);
    open(folder.path());
}

#[test]
fn a_lock_of_another_process_is_explained_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = crash_child(folder.path());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.map_while(Result::ok).any(|line| line.contains("durable "));
    let error = try_open(folder.path()).err();
    let id = child.id();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ready, "the child never came up");
    let holder = format!("process {id}");
    assert!(
        matches!(&error, Some(Error::InUse { holder: named, .. }) if *named == holder),
        "{error:?} does not name {holder}"
    );
}

#[test]
fn a_layout_of_a_newer_program_is_refused() {
    let (log, folder) = fresh();
    log.db.put_cf(&Tables::of(&log.db).meta, keys::LAYOUT_KEY, 3u32.to_be_bytes()).unwrap();
    drop(log);
    let error = try_open(folder.path()).err().unwrap();
    assert!(matches!(error, Error::OtherLayout { found: 3, known: 2, .. }), "{error}");
}

#[test]
fn a_log_of_the_first_layout_is_gone_on_with() {
    let (log, folder) = fresh();
    log.append(1, vec![record(1, "K", [""; 4]); 3]).wait().unwrap();
    begin_anew_in_the_first_layout(&log.db);
    drop(log);
    let log = open(folder.path());
    log.append(4, vec![record(1, "K", [""; 4]); 2]).wait().unwrap();
    for newest_first in [false, true] {
        let kind = Filter { kind: Some("K".into()), limit: 10, newest_first, ..Filter::default() };
        let mut found: Vec<u64> = log.query(&kind).unwrap().iter().map(|event| event.index).collect();
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3, 4, 5]);
    }
    let layout = log.db.get_cf(&Tables::of(&log.db).meta, keys::LAYOUT_KEY).unwrap();
    assert_eq!(layout, Some(2u32.to_be_bytes().to_vec()), "an older program would not see its new rows");
}

/// Three events of kind K, as a program of the first layout wrote them: a row for each.
fn begin_anew_in_the_first_layout(db: &DB) {
    let tables = Tables::of(db);
    db.delete_cf(&tables.index, row_of("K", 3)).unwrap();
    for index in 1..=3 {
        db.put_cf(&tables.index, row_of("K", index), []).unwrap();
    }
    db.put_cf(&tables.meta, keys::LAYOUT_KEY, 1u32.to_be_bytes()).unwrap();
}

fn row_of(kind: &str, index: u64) -> Vec<u8> {
    [keys::exact(keys::List::Kind, kind), index.to_be_bytes().to_vec()].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn questions_are_answered_as_by_a_log_in_memory(
        batches in prop::collection::vec(prop::collection::vec((0u8..3, 0u8..2), 1..40), 1..30),
        bounds in (0u64..300, 0u64..300),
        limit in 1u32..60,
    ) {
        let ((log, _folder), memory) = (fresh(), Memory::default());
        for batch in &batches {
            let made = |(kind, cluster): &(u8, u8)| record(1, &format!("K{kind}"), [["a", "b"][usize::from(*cluster)], "", "", ""]);
            let batch: Vec<Record> = batch.iter().map(made).collect();
            memory.append(memory.next_index(), batch.clone()).wait().unwrap();
            log.append(log.next_index(), batch).wait().unwrap();
        }
        let (after, before) = (bounds.0.min(bounds.1), bounds.0.max(bounds.1));
        for (kind, cluster) in [(Some("K0"), None), (Some("K1"), Some("a")), (None, Some("b")), (Some("K9"), None)] {
            for newest_first in [false, true] {
                let [kind, cluster] = [kind, cluster].map(|text: Option<&str>| text.map(str::to_owned));
                let filter = Filter { kind, cluster, limit, newest_first, after: Some(after), before: Some(before), ..Filter::default() };
                prop_assert_eq!(log.query(&filter).unwrap(), memory.query(&filter).unwrap());
            }
        }
    }
}

#[test]
fn a_missing_event_is_damage_and_not_an_empty_answer() {
    let (log, _folder) = fresh();
    log.append(1, vec![record(1, "K", [""; 4]); 3]).wait().unwrap();
    log.db.delete_cf(&Tables::of(&log.db).events, keys::event(2)).unwrap();
    let kind = Filter { kind: Some("K".into()), limit: 10, ..Filter::default() };
    for answer in [log.read(1, 10), log.query(&kind), log.query(&Filter { kind: None, ..kind.clone() })] {
        assert!(matches!(answer, Err(Error::Damaged { index: 2, .. })), "{answer:?}");
    }
}

#[test]
fn a_table_file_that_vanished_is_noticed_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = crash_child(folder.path());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let many = lines.map_while(Result::ok).filter(|line| line.contains("durable ")).nth(20);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(many.is_some(), "the child never came far");
    drop(open(folder.path()));
    let tables = |folder: &Path| -> Vec<std::path::PathBuf> {
        let files = fs::read_dir(place(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension() == Some(OsStr::new("sst"))).collect()
    };
    let victims = tables(folder.path());
    assert!(!victims.is_empty(), "recovery flushes");
    fs::remove_file(&victims[0]).unwrap();
    let error = try_open(folder.path()).err();
    assert!(matches!(error, Some(Error::Open { .. })), "{error:?}");
}

#[test]
fn appenders_at_once_get_whole_batches_and_one_order() {
    let (log, folder) = fresh();
    let log = Arc::new(log);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                let mut tickets = Vec::new();
                while tickets.len() < 50 {
                    let first = log.next_index();
                    let batch = vec![record(1, &format!("w{writer}b{}", tickets.len()), [""; 4]); 3];
                    match log.append(first, batch).wait() {
                        Ok(last) => tickets.push(last),
                        Err(Error::WrongIndex { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let check = |log: &Rocks| {
        let events = log.read(1, 10_000).unwrap();
        assert_eq!(events.len(), 4 * 50 * 3);
        for batch in events.chunks(3) {
            assert!(batch.iter().all(|event| event.payload == batch[0].payload), "{batch:?}");
        }
    };
    check(&log);
    drop(log);
    check(&open(folder.path()));
}

#[test]
fn every_ticket_waits_for_an_fsync_and_a_queue_shares_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = settings::database();
    options.enable_statistics();
    let log = Rocks::open_with(
        &place(folder.path()),
        &options,
        0,
        Box::new(|error| panic!("the log ended: {error}")),
    );
    let log = log.unwrap();
    let synced = || options.get_ticker_count(Ticker::WalFileSynced);
    for index in 1..=5 {
        let before = synced();
        log.append(index, vec![record(1, "K", [""; 4])]).wait().unwrap();
        assert!(synced() > before, "the ticket of event {index} came before its fsync");
    }
    let before = synced();
    let tickets: Vec<_> = (6..506).map(|index| log.append(index, vec![record(1, "K", [""; 4])])).collect();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    let shared = synced() - before;
    assert!(shared < 250, "500 batches took {shared} fsyncs");
    let told = || log.syncs();
    let before = told();
    let reported = |index| vec![Record { own: false, ..record(index, "K", [""; 4]) }];
    log.append(506, reported(506)).wait().unwrap();
    assert_eq!(told(), Syncs { reported: before.reported + 1, ..before }, "an agent's event");
    log.append(507, [reported(507), vec![record(508, "K", [""; 4])]].concat()).wait().unwrap();
    assert_eq!(told(), Syncs { own: before.own + 1, reported: before.reported + 1 }, "one of each");
    let before = (synced(), log.syncs());
    assert_eq!(log.append(509, Vec::new()).wait().unwrap(), 508);
    assert_eq!((synced(), log.syncs()), before, "a question costs no fsync");
}

#[tokio::test]
async fn every_reply_waits_for_an_fsync_of_its_own_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = settings::database();
    options.enable_statistics();
    let on_fatal: OnFatal = Box::new(|error| panic!("the log ended: {error}"));
    let log = Arc::new(Rocks::open_with(&place(folder.path()), &options, 0, on_fatal).unwrap());
    let hub = Hub::new(replay(&*log).unwrap(), HubSettings { lease: Span::secs(3_600) });
    let (driver, handle, _) = Driver::new(hub, log.clone());
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let driving = tokio::spawn(async move { driver.run(&mut Idle, stopped).await });
    let synced = || (options.get_ticker_count(Ticker::WalFileSynced), log.syncs());
    let mut sender = Sender::new(0);
    join(&sender, &handle).await;
    for _ in 0..20 {
        let before = synced();
        let reply = send(&mut sender, &handle, 10).await;
        assert!(matches!(reply, Reply::Receipt { .. }), "{reply:?}");
        assert!(synced().0 > before.0, "the receipt came before the fsync");
    }
    assert!(log.syncs().all() <= options.get_ticker_count(Ticker::WalFileSynced), "only fsyncs are counted");
    stop.cancel();
    driving.await.unwrap().unwrap();
}

/// A log whose end is counted and kept.
fn watched(folder: &Path) -> (Rocks, Arc<Mutex<Vec<Error>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let teller = Arc::clone(&told);
    let log =
        Rocks::open(&place(folder), 0, Box::new(move |error| teller.lock().unwrap().push(error.clone())));
    (log.unwrap(), told)
}

#[test]
fn closing_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (log, told) = watched(folder.path());
    drop(log);
    assert!(told.lock().unwrap().is_empty());
}

#[test]
fn a_failed_write_ends_the_log_and_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let (log, told) = watched(folder.path());
    log.append(1, vec![record(1, "K", [""; 4])]).wait().unwrap();
    fs::remove_dir_all(place(folder.path())).unwrap();
    log.db.flush_cf(&Tables::of(&log.db).events).unwrap_err();
    let failed = log.append(2, vec![record(1, "K", [""; 4])]).wait().unwrap_err();
    assert!(matches!(failed, Error::Write { .. }), "{failed}");
    let late = log.append(log.next_index(), vec![record(1, "K", [""; 4])]).wait().unwrap_err();
    assert!(matches!(late, Error::Stopped), "{late}");
    drop(log);
    assert!(matches!(&told.lock().unwrap()[..], [Error::Write { .. }]));
}

#[test]
fn a_panic_of_the_writer_ends_the_log_and_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let (log, told) = watched(folder.path());
    log.db.drop_cf(settings::BLOBS).unwrap();
    let failed = log.append(1, vec![record(1, "K", [""; 4])]).wait().unwrap_err();
    assert!(failed.is_fatal(), "{failed}");
    drop(log);
    assert!(matches!(&told.lock().unwrap()[..], [Error::Stopped]));
}

/// A pseudo-random number below `below`: the same in every run.
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

fn maybe(seed: &mut u64, choices: &[&str]) -> Option<String> {
    let drawn = draw(seed, 2 * choices.len() as u64);
    choices.get(usize::try_from(drawn).unwrap()).map(|&text| text.to_owned())
}

#[test]
fn ten_thousand_events_answer_as_the_plain_twin_does() {
    const CLUSTERS: [&str; 5] = ["c1", "c2", "c22", "c3", "c4"];
    const APPS: [&str; 5] = ["s/web", "t/web", "s/db", "web/s", "webs"];
    const COMMITS: [&str; 5] = ["aa11", "aa12", "ab", "b", "bbbb"];
    const ACTORS: [&str; 3] = ["ann", "an", "hub"];
    const KINDS: [&str; 4] = ["Seen", "Planned", "Plan", "Healthy"];
    let (rocks, _folder) = fresh();
    let twin = Memory::default();
    let (mut seed, mut at) = (7, 0);
    for first in (1..=10_000).step_by(100) {
        let mut batch = Vec::new();
        for _ in 0..100 {
            at += draw(&mut seed, 3);
            let keys = Keys {
                cluster: maybe(&mut seed, &CLUSTERS),
                app: maybe(&mut seed, &APPS),
                commit: maybe(&mut seed, &COMMITS),
                actor: maybe(&mut seed, &ACTORS),
                kind: maybe(&mut seed, &KINDS).unwrap_or_default(),
            };
            batch.push(Record { keys, ..record(at, "K", [""; 4]) });
        }
        for log in [&rocks as &dyn Log, &twin] {
            log.append(first, batch.clone()).wait().unwrap();
        }
    }
    for _ in 0..400 {
        let mut position = |below| (draw(&mut seed, 3) == 0).then(|| draw(&mut seed, below));
        let (after, before) = (position(11_000), position(11_000));
        let (from, to) = (position(at + 10).map(At), position(at + 10).map(At));
        let filter = Filter {
            cluster: maybe(&mut seed, &CLUSTERS),
            app: maybe(&mut seed, &["s/web", "web", "db", "webs", "s"]),
            commit: maybe(&mut seed, &["a", "aa", "aa1", "aa11", "b", "c", ""]),
            actor: maybe(&mut seed, &ACTORS),
            kind: maybe(&mut seed, &KINDS),
            from,
            to,
            after,
            before,
            newest_first: draw(&mut seed, 2) == 0,
            limit: [1, 10, 500, 20_000][usize::try_from(draw(&mut seed, 4)).unwrap()],
        };
        assert_eq!(rocks.query(&filter).unwrap(), twin.query(&filter).unwrap(), "{filter:?}");
    }
}

/// Starts this test program again as a process that appends until it is killed.
fn crash_child(folder: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "log::rocks::tests::a_child_appends_until_it_is_killed", "--nocapture"])
        .env(CRASH_FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_child_appends_until_it_is_killed() {
    let Some(folder) = std::env::var_os(CRASH_FOLDER) else { return };
    let log = open(Path::new(&folder));
    let (start, mut open) = (log.last_at().0, std::collections::VecDeque::new());
    // A child that nobody kills ends by itself.
    for batch in 0..50_000 {
        let payload = Bytes::from(batch.to_string());
        let event = Record { payload, ..record(start + batch, "K", ["c", "s/a", "aa", "x"]) };
        open.push_back(log.append(log.next_index(), vec![event; usize::try_from(CRASH_BATCH).unwrap()]));
        if open.len() > 8 {
            let durable = open.pop_front().unwrap().wait().unwrap();
            println!("durable {durable}");
        }
    }
}

#[test]
fn a_killed_process_leaves_whole_batches_and_all_it_was_promised() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..3 {
        let mut child = crash_child(folder.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut promised = 0;
        let durable = lines.map_while(Result::ok).filter_map(|line| {
            line.split_once("durable ").and_then(|(_, index)| index.trim().parse::<u64>().ok())
        });
        for (count, index) in durable.enumerate() {
            promised = index;
            if count == 30 + 20 * round {
                // The rest of the pipe is read too: what the child said in front of its end counts.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let log = open(folder.path());
        let last = log.next_index() - 1;
        assert!(promised > before && last >= promised, "promised {promised}, found {last}");
        assert_eq!(last % CRASH_BATCH, 0, "a batch is whole or absent");
        let mut from = before + 1;
        while let Some(event) = log.read(from, 10_000).unwrap().last() {
            from = event.index + 1;
        }
        assert_eq!(from, last + 1);
        for key in ["cluster", "app", "commit", "actor", "kind"] {
            let is = |name: &str, text: &str| (key == name).then(|| text.to_owned());
            let filter = Filter {
                cluster: is("cluster", "c"),
                app: is("app", "s/a"),
                commit: is("commit", "aa"),
                actor: is("actor", "x"),
                kind: is("kind", "K"),
                newest_first: true,
                limit: 1,
                ..Filter::default()
            };
            assert_eq!(log.query(&filter).unwrap()[0].index, last, "{key} misses the last event");
        }
        before = last;
    }
}
