//! What only a journal on disk promises: it survives its process, and damage is named and kept.

use super::super::conformance::{conformance, events, hash, one_of_each, row};
use super::*;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use taffrail_testkit::small_disk::SmallDisk;
use tempfile::TempDir;

/// Names the file to the child process of the kill test; its absence makes the child's test do nothing.
const CRASH_FILE: &str = "TAFFRAIL_TEST_CRASH_FILE";

/// Events in one commit of the kill test; the parent checks that no commit is cut.
const CRASH_EVENTS: u64 = 4;

fn fresh() -> (Redb, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (journal, opened) = Redb::open(&folder.path().join("journal.redb"), 3).unwrap();
    assert_eq!(opened, Opened::New);
    (journal, folder)
}

conformance! { fresh() }

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let (journal, folder) = fresh();
    journal.commit(one_of_each()).await.unwrap();
    let before = journal.load().unwrap();
    drop(journal);
    let (journal, opened) = Redb::open(&folder.path().join("journal.redb"), 8).unwrap();
    assert_eq!(opened, Opened::Found);
    assert_eq!(journal.load().unwrap(), before, "the incarnation too is the journal's own");
    assert_eq!(journal.outbox_from(1, 10, 1_000).unwrap(), [row(1), row(2), row(3)]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn a_journal_of_the_first_layout_is_taken_over_with_all_but_its_bundles() {
    let (journal, folder) = fresh();
    let path = folder.path().join("journal.redb");
    let writes = one_of_each()
        .into_iter()
        .filter(|write| !matches!(write, Write::PutItem { .. } | Write::PutBundle { .. }));
    journal.commit(writes.collect()).await.unwrap();
    let before = journal.load().unwrap();
    let writing = journal.db.begin_write().unwrap();
    for table in [CONTENTS, BODIES] {
        writing.delete_table(table).unwrap();
    }
    writing.delete_table(ITEMS).unwrap();
    writing.open_table(OLD_BUNDLES).unwrap().insert([1; 32], &b"packed"[..]).unwrap();
    put(&mut writing.open_table(FACTS).unwrap(), FORMAT, &OLD_LAYOUT.to_be_bytes()).unwrap();
    writing.commit().unwrap();
    drop(journal);
    let (journal, opened) = Redb::open(&path, 8).unwrap();
    assert_eq!((opened, journal.load().unwrap()), (Opened::Found, before));
    assert_eq!(journal.bundle(&Digest([1; 32])).unwrap(), None, "it is fetched again");
}

#[tokio::test]
async fn a_second_opening_is_refused_and_changes_nothing() {
    let (journal, folder) = fresh();
    journal.commit(one_of_each()).await.unwrap();
    let error = Redb::open(&folder.path().join("journal.redb"), 8).err().unwrap();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert_eq!(journal.load().unwrap().next_seq, 4);
}

#[tokio::test]
async fn a_journal_after_which_another_one_has_spoken_is_kept_aside_and_named_as_lost() {
    let (journal, folder) = fresh();
    let path = folder.path().join("journal.redb");
    journal.commit(one_of_each()).await.unwrap();
    drop(journal);
    for (spoken, own, found) in [(2, 3, true), (3, 3, true), (4, 5, false), (5, 5, true)] {
        let (journal, opened) = Redb::open_newest(&path, spoken, spoken + 1).unwrap();
        assert_eq!(opened == Opened::Found, found, "{spoken}: {opened:?}");
        assert_eq!(journal.load().unwrap().incarnation, own, "{spoken}");
    }
    let aside = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(aside, 2, "the old one is kept");
    let (journal, _) = Redb::open_newest(&path, 5, 6).unwrap();
    let forked = Write::PutSetting { key: FORKED.into(), bytes: Bytes::from_static(b"1") };
    journal.commit(vec![forked]).await.unwrap();
    drop(journal);
    for found in [false, true] {
        let (journal, opened) = Redb::open_newest(&path, 5, 6).unwrap();
        assert_eq!(opened == Opened::Found, found, "another has used its numbers: {opened:?}");
        assert_eq!(journal.load().unwrap().incarnation, 6);
    }
}

#[tokio::test]
async fn a_damaged_journal_is_kept_aside_and_named_as_lost() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 5] = [
        ("other bytes", |bytes| *bytes = vec![b'x'; 8_192]),
        ("a short file", |bytes| bytes.truncate(100)),
        ("half of it", |bytes| bytes.truncate(bytes.len() / 2)),
        ("zeros", |bytes| bytes.fill(0)),
        ("pages without content", |bytes| bytes[4_096..].fill(0x55)),
    ];
    let (journal, folder) = fresh();
    let path = folder.path().join("journal.redb");
    journal.commit(one_of_each()).await.unwrap();
    drop(journal);
    let whole = fs::read(&path).unwrap();
    for (round, (name, damage)) in (1..).zip(damages) {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let (journal, opened) = Redb::open(&path, 10 + round).unwrap();
        assert!(matches!(opened, Opened::Lost { .. }), "{name}: {opened:?}");
        let snapshot = journal.load().unwrap();
        assert_eq!((snapshot.incarnation, snapshot.next_seq), (10 + round, 1), "{name}");
        drop(journal);
        let aside = path.with_extension(format!("lost-{}", round.min(u64::from(KEPT_ASIDE_MAX))));
        assert_eq!(fs::read(aside).unwrap(), bytes, "{name} is kept as it was found");
    }
}

#[tokio::test]
async fn a_flipped_byte_is_never_read_as_something_else() {
    let (journal, folder) = fresh();
    let path = folder.path().join("journal.redb");
    journal.commit(one_of_each()).await.unwrap();
    let before = journal.load().unwrap();
    drop(journal);
    let whole = fs::read(&path).unwrap();
    let (mut lost, mut found) = (0, 0);
    for at in (0..whole.len()).step_by(997) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let Ok((journal, opened)) = Redb::open(&path, 8) else { continue };
        if opened == Opened::Found {
            found += 1;
            assert_eq!(journal.load().unwrap(), before, "byte {at}");
        } else {
            lost += 1;
            fs::remove_file(path.with_extension("lost-1")).unwrap();
        }
    }
    assert!(lost > 0 && found > 0, "{lost} lost, {found} in unused space");
}

#[test]
fn a_journal_that_cannot_be_read_is_an_error_and_not_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let error = Redb::open(folder.path(), 8).err().unwrap();
    assert!(matches!(error, Error::Open { .. } | Error::File { .. }), "{error}");
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = Redb::open(&file.join("journal.redb"), 8).err().unwrap();
    assert!(matches!(error, Error::File { .. }), "{error}");
}

#[test]
fn an_unfinished_new_journal_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state").join("journal.redb");
    fs::create_dir(folder.path().join("state")).unwrap();
    fs::write(path.with_extension("new"), "half a journal").unwrap();
    let (_, opened) = Redb::open(&path, 8).unwrap();
    assert_eq!(opened, Opened::New);
}

fn crash_child(file: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "journal::redb::tests::a_child_commits_until_it_is_killed", "--nocapture"])
        .env(CRASH_FILE, file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_child_commits_until_it_is_killed() {
    let Some(file) = std::env::var_os(CRASH_FILE) else { return };
    let (journal, _) = Redb::open(Path::new(&file), 1).unwrap();
    // A child that nobody kills ends by itself.
    for _ in 0..20_000 {
        let next = journal.load().unwrap().next_seq;
        let last = next + CRASH_EVENTS - 1;
        let writes = vec![
            events(next..=last),
            Write::PutMark(Mark { epoch: 1, generation: last }),
            Write::PutInstance { app: "shop/web".into(), bytes: Bytes::from(last.to_string()) },
            Write::Receipt { seq: last.saturating_sub(20) },
        ];
        journal.commit(writes).await.unwrap();
        println!("durable {last}");
    }
}

#[test]
fn a_killed_process_leaves_whole_commits_and_all_it_was_promised() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let mut before = 0;
    for round in 0..4 {
        let mut child = crash_child(&path);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let durable = lines.map_while(Result::ok).filter_map(|line| {
            line.split_once("durable ").and_then(|(_, seq)| seq.trim().parse::<u64>().ok())
        });
        let mut promised = 0;
        for (count, seq) in durable.enumerate() {
            promised = seq;
            if count == 20 + 13 * round {
                // The rest of the pipe is read too: what the child said in front of its end counts.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let (journal, opened) = Redb::open(&path, 1).unwrap();
        assert_eq!(opened, Opened::Found);
        let snapshot = journal.load().unwrap();
        let last = snapshot.next_seq - 1;
        assert!(promised > before && last >= promised, "promised {promised}, found {last}");
        assert_eq!(last % CRASH_EVENTS, 0, "a commit is whole or absent");
        assert_eq!(snapshot.mark, Some(Mark { epoch: 1, generation: last }));
        assert_eq!(snapshot.instances["shop/web"], last.to_string().as_bytes());
        assert_eq!((snapshot.last_hash, snapshot.receipted), (hash(last), last - 20));
        let outbox = journal.outbox_from(0, 100, 100_000).unwrap();
        assert_eq!(outbox, (last - 19..=last).map(row).collect::<Vec<_>>());
        before = last;
    }
}

#[tokio::test]
async fn a_journal_on_a_disk_that_is_full_refuses_loses_nothing_and_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(8).unwrap() else {
        println!("not run: mounting a small file system needs root");
        return;
    };
    let (path, ballast) = (disk.path().join("journal.redb"), disk.path().join("ballast"));
    fs::write(&ballast, vec![1; 3 << 20]).unwrap();
    let (journal, _) = Redb::open(&path, 3).unwrap();
    let (mut kept, bundle) = (0, |seq: u64| Write::PutBundle {
        digest: hash(seq),
        bodies: vec![(hash(seq), vec![u8::try_from(seq % 251).unwrap(); 20_000].into())],
    });
    let error = loop {
        match journal.commit(vec![bundle(kept + 1), events(kept + 1..=kept + 1)]).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1_000, "the disk is full and nothing is refused");
    };
    assert!(
        matches!(&error, Error::Write { source } if source.to_string().contains("No space left")),
        "{error:?}"
    );
    assert!(kept > 10, "it was full from the beginning");
    // What the disk holds now is unknown to this process, which ends.
    drop(journal);
    match Redb::open(&path, 8) {
        Ok((_, opened)) => assert_eq!(opened, Opened::Found, "a full disk is no damage"),
        Err(error) => assert!(matches!(error, Error::Open { .. } | Error::Write { .. }), "{error:?}"),
    }
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 2, "nothing was set aside");
    fs::remove_file(&ballast).unwrap();
    let (journal, opened) = Redb::open(&path, 8).unwrap();
    assert_eq!(opened, Opened::Found);
    let rows = journal.outbox_from(1, 10_000, u64::MAX).unwrap();
    assert_eq!(rows, (1..=kept).map(row).collect::<Vec<_>>(), "all that was committed, and nothing else");
    journal.commit(vec![bundle(kept + 1), events(kept + 1..=kept + 1)]).await.unwrap();
}
