//! The driver over a log on a real disk that ends at a named place, fails, or fills up.

use super::sender::{BATCH, join, send};
use super::{Driver, Handle, Performer, SHORT, replay};
use crate::log::failpoint::{Place, armed::VARIABLE};
use crate::log::{Log as _, Rocks, Room};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;
use taffrail_core::node::hub::{Effect, Hub, Input, Reply, Settings};
use taffrail_core::time::Span;
use taffrail_proto::event::decode_header;
use taffrail_proto::sign::sha256;
use taffrail_testkit::sender::Sender;
use taffrail_testkit::small_disk::SmallDisk;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Names the folder to the child process; its absence makes the child's test do nothing.
const FOLDER: &str = "TAFFRAIL_TEST_DRIVER_FOLDER";

/// Clusters that send.
const CLUSTERS: usize = 3;

/// Requests of one cluster, if nobody ends the process before.
const REQUESTS: u64 = 40;

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

struct Nothing;

impl Performer for Nothing {
    fn perform(&mut self, _: Effect) {}
}

struct Running {
    log: Arc<Rocks>,
    handle: Handle,
    stop: CancellationToken,
    end: JoinHandle<Result<(), crate::log::Error>>,
}

fn run(folder: &Path, reserve: u64) -> Running {
    let log = Arc::new(Rocks::open(folder, reserve, Box::new(|error| println!("ended {error}"))).unwrap());
    let hub = Hub::new(replay(&*log).unwrap(), Settings { lease: Span::secs(3_600) });
    let (driver, handle, _) = Driver::new(hub, log.clone());
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let end = tokio::spawn(async move { driver.run(&mut Nothing, stopped).await });
    Running { log, handle, stop, end }
}

impl Running {
    async fn close(self) {
        self.stop.cancel();
        self.end.await.unwrap().unwrap();
    }
}

/// Checks a log that a process left: whole requests, every number once and in order. Returns the last number by cluster.
fn judge(folder: &Path) -> BTreeMap<String, u64> {
    let log = Rocks::open(folder, 0, Box::new(|error| panic!("{error}"))).unwrap();
    let (mut last, mut from) = (BTreeMap::new(), 1);
    loop {
        let page = log.read(from, 10_000).unwrap();
        let Some(end) = page.last() else { break };
        from = end.index + 1;
        for stored in &page {
            let header = decode_header(&stored.header).unwrap();
            if let Some(place) = header.place {
                let name = header.context.cluster.unwrap().to_string();
                let before = last.insert(name, place.seq).unwrap_or(0);
                assert_eq!(place.seq, before + 1, "event {}", stored.index);
            }
        }
    }
    let state = replay(&log).unwrap();
    for (name, cluster) in &state.clusters.clusters {
        let chain = cluster.enrolment.as_ref().map_or(0, |enrolment| enrolment.chain.seq);
        assert_eq!(chain, last.get(name.as_str()).copied().unwrap_or(0));
        assert_eq!(chain % BATCH, 0, "a request of {name} was cut");
    }
    last
}

/// Starts this test program again as a hub that ends at a place; what it said of receipts, by cluster.
fn child(folder: &Path, place: &str, under: &[&str]) -> (BTreeMap<String, u64>, String) {
    let program = std::env::current_exe().unwrap();
    let words = ["--exact", "driver::fault_tests::a_child_takes_events_until_it_ends", "--nocapture"];
    let mut command = match under.split_first() {
        Some((first, rest)) => {
            let mut command = Process::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Process::new(program),
    };
    let output =
        command.args(words).env(FOLDER, folder).env(VARIABLE, place).stderr(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut receipts = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [.., "receipt", cluster, seq] = words[..] {
            receipts.insert(cluster.to_owned(), seq.parse().unwrap());
        }
    }
    (receipts, text)
}

#[tokio::test]
async fn a_child_takes_events_until_it_ends() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let running = run(Path::new(&folder), 0);
    running.handle.post().input(Input::Started { version: "1.0.0".into(), epoch: 1 }).await.unwrap();
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..CLUSTERS {
        let (mut sender, handle) = (Sender::new(number), running.handle.clone());
        sending.spawn(async move {
            join(&sender, &handle).await;
            for _ in 0..REQUESTS {
                if let Reply::Receipt { chain, .. } = send(&mut sender, &handle, 10).await {
                    println!("receipt {} {}", sender.name, chain.seq);
                }
            }
        });
    }
    while let Some(sent) = sending.join_next().await {
        if sent.is_err() {
            break;
        }
    }
    println!("driver {:?}", running.end.await.unwrap().map_err(|error| error.to_string()));
}

#[test]
fn a_process_that_ends_at_any_named_place_leaves_all_that_was_receipted() {
    for place in [Place::BeforeWrite, Place::BeforeSync, Place::AfterSync, Place::BeforeRelease] {
        for number in [1, 5, 30] {
            let home = tempfile::tempdir().unwrap();
            let folder = home.path().join("log");
            let (receipts, text) = child(&folder, &format!("{place:?}:{number}"), &[]);
            assert!(!text.contains("driver "), "{place:?}:{number} did not end the process: {text}");
            let found = judge(&folder);
            for (cluster, seq) in &receipts {
                let there = found.get(cluster).copied().unwrap_or(0);
                assert!(there >= *seq, "{place:?}:{number}: {cluster} has {there}, receipted {seq}");
            }
            let receipted: u64 = receipts.values().sum();
            assert!(number < 30 || receipted > 0, "{place:?}:{number}: nothing was receipted");
        }
    }
}

#[test]
fn an_fsync_that_fails_once_ends_the_writer_and_is_not_tried_again() {
    if Process::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("not run: strace is missing, which makes an fsync fail");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("log");
    let trace = home.path().join("trace").display().to_string();
    let fault = "inject=fdatasync:error=EIO:when=40";
    let under = ["strace", "-f", "-qq", "-o", &trace, "-e", "trace=fdatasync", "-e", fault];
    let (receipts, text) = child(&folder, "nowhere:1", &under);
    assert!(text.contains("ended write the log"), "{text}");
    assert!(text.contains("driver Err("), "the driver ends: {text}");
    let calls = std::fs::read_to_string(&trace).unwrap();
    let failed = calls.lines().position(|line| line.contains("INJECTED")).expect("one was made to fail");
    assert_eq!(calls.lines().filter(|line| line.contains("INJECTED")).count(), 1);
    let after = calls.lines().skip(failed + 1).filter(|line| line.contains("fdatasync(")).count();
    assert!(after <= 2, "closing may sync what is not the log, but {after} fsyncs followed:\n{calls}");
    let found = judge(&folder);
    for (cluster, seq) in &receipts {
        assert!(found.get(cluster).copied().unwrap_or(0) >= *seq, "{cluster} lost events: {text}");
    }
    assert!(receipts.values().sum::<u64>() > 0, "nothing was receipted before: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_stops_receipts_before_it_is_full_and_goes_on_by_itself() {
    const RESERVE: u64 = 96 << 20;
    let Some(disk) = SmallDisk::mount(384).unwrap() else {
        println!("not run: mounting a small file system needs root");
        return;
    };
    let (folder, ballast) = (disk.path().join("log"), disk.path().join("ballast"));
    std::fs::write(&ballast, vec![1; 120 << 20]).unwrap();
    let running = run(&folder, RESERVE);
    let (handle, log) = (running.handle.clone(), running.log.clone());
    let mut sender = Sender::new(0);
    join(&sender, &handle).await;
    let mut receipted = 0;
    let reason = loop {
        match send(&mut sender, &handle, 200_000).await {
            Reply::Receipt { chain, .. } => receipted = chain.seq,
            Reply::Refused { reason } => break reason,
            other => panic!("{other:?}"),
        }
        assert!(receipted < 3_000, "the disk is full and nothing stopped");
    };
    assert_eq!(reason, SHORT);
    let Room::Short { free, reserve: RESERVE } = *log.room().borrow() else { panic!("there is room") };
    assert!(free < RESERVE && free > RESERVE / 8, "{free} bytes are left");
    assert!(receipted > 0, "it was short from the beginning");
    // Questions are answered, what is written can be read, bundles are refused, and what is posted waits.
    handle.post().input(Input::Started { version: "late".into(), epoch: 1 }).await.unwrap();
    let (index, epoch) = handle.look(|hub, _| (hub.state().index, hub.state().planner.epoch)).await.unwrap();
    assert_eq!((log.read(1, 10_000).unwrap().is_empty(), *log.durable().borrow(), epoch), (false, index, 0));
    let blob = log.put_blob(sha256(b"blob"), bytes::Bytes::from_static(b"blob")).await;
    assert!(matches!(blob, Err(crate::log::Error::Full { .. })), "{blob:?}");
    std::fs::remove_file(&ballast).unwrap();
    let mut room = log.room();
    let again = tokio::time::timeout(PATIENCE, room.wait_for(|room| *room == Room::Enough)).await;
    assert!(again.is_ok_and(|seen| seen.is_ok()), "there is room and the log does not go on");
    let reply = send(&mut sender, &handle, 1_000).await;
    assert!(matches!(&reply, Reply::Receipt { chain, .. } if chain.seq == receipted + BATCH), "{reply:?}");
    assert_eq!(handle.look(|hub, _| hub.state().planner.epoch).await.unwrap(), 1, "what waited was taken");
    drop((log, room));
    running.close().await;
    assert_eq!(judge(&folder), BTreeMap::from([("c0".to_owned(), receipted + BATCH)]));
}
