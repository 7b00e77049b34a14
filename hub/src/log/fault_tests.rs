//! What becomes of a log whose files were damaged: all that was receipted is there, or the log is not opened and says what is lost.

use super::super::conformance::record;
use super::super::witness;
use super::*;
use std::ffi::OsStr;
use std::path::PathBuf;
use tempfile::TempDir;

/// Events of one batch.
const BATCH: u64 = 5;

/// Events of a filled log.
const EVENTS: u64 = 20 * BATCH;

fn open(folder: &Path) -> Result<Rocks, Error> {
    Rocks::open(folder, 0, Box::new(|error| panic!("the log ended: {error}")))
}

/// A log that was closed; all its events are still in the write-ahead log.
fn filled() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("log");
    fill(&folder, "K");
    (home, folder)
}

fn fill(folder: &Path, kind: &str) {
    let log = open(folder).unwrap();
    for batch in 0..EVENTS / BATCH {
        let event = record(batch, kind, ["c", "s/a", "aa", "x"]);
        log.append(1 + batch * BATCH, vec![event; usize::try_from(BATCH).unwrap()]).wait().unwrap();
    }
}

/// The files with this ending, the largest first.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = all.filter(|path| path.extension() == Some(OsStr::new(ending))).collect();
    found.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn is_whole(folder: &Path) {
    let log = open(folder).unwrap();
    assert_eq!(log.read(1, 10_000).unwrap().len() as u64, EVENTS);
    let kind = Filter { cluster: Some("c".into()), limit: 10_000, ..Filter::default() };
    assert_eq!(log.query(&kind).unwrap().len() as u64, EVENTS);
}

/// Opening is refused because events are lost, and changes no file.
fn is_refused(folder: &Path) -> u64 {
    let picture =
        |ending| files(folder, ending).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
    let before = (picture("log"), picture("sst"));
    let error = open(folder).err().unwrap();
    let Error::Lost { last, witnessed: EVENTS, .. } = error else { panic!("{error:?}") };
    let told = error.to_string();
    assert!(told.contains(&format!("events {} to {EVENTS} are missing", last + 1)), "{told}");
    assert!(told.contains("taffrail-hub restore") && told.contains("docs/FAULTS.md"), "{told}");
    assert_eq!((picture("log"), picture("sst")), before, "what can still be saved must stay");
    last
}

#[test]
fn a_flipped_bit_in_the_write_ahead_log_is_not_taken_for_its_end() {
    let (_home, folder) = filled();
    let wal = files(&folder, "log").remove(0);
    let middle = usize::try_from(fs::metadata(&wal).unwrap().len() / 2).unwrap();
    flip(&wal, middle);
    let last = is_refused(&folder);
    assert!(last > 0 && last < EVENTS && last.is_multiple_of(BATCH), "{last}");
    flip(&wal, middle);
    is_whole(&folder);
}

#[test]
fn a_missing_write_ahead_log_is_noticed_though_it_is_the_live_one() {
    let (home, folder) = filled();
    let wal = files(&folder, "log").remove(0);
    let aside = home.path().join("aside");
    fs::rename(&wal, &aside).unwrap();
    assert_eq!(is_refused(&folder), 0);
    fs::rename(&aside, &wal).unwrap();
    is_whole(&folder);
}

#[test]
fn a_tail_that_was_never_receipted_is_cut_and_one_that_was_is_missed() {
    let (_home, folder) = filled();
    let wal = files(&folder, "log").remove(0);
    let whole = fs::read(&wal).unwrap();
    // Of a batch that was being written when the power went, half is there.
    let record = whole.len() / 20;
    fs::write(&wal, [&whole[..], &whole[whole.len() - record..][..record / 2]].concat()).unwrap();
    is_whole(&folder);
    let (_home, folder) = filled();
    let wal = files(&folder, "log").remove(0);
    fs::write(&wal, &whole[..whole.len() - 7]).unwrap();
    assert_eq!(is_refused(&folder), EVENTS - BATCH);
}

#[test]
fn a_flipped_bit_in_a_table_is_an_error_that_names_the_file() {
    let (_home, folder) = filled();
    // Recovery writes tables.
    is_whole(&folder);
    let mut told = Vec::new();
    for table in files(&folder, "sst") {
        flip(&table, 20);
        let everything = || {
            let log = open(&folder)?;
            log.read(1, 10_000)?;
            log.query(&Filter { kind: Some("K".into()), limit: 10_000, ..Filter::default() })
        };
        let name = table.file_name().unwrap().to_str().unwrap().to_owned();
        match everything() {
            Err(Error::Open { source, .. } | Error::Read { source }) => {
                assert!(source.to_string().contains(&name), "{source} does not name {name}");
                told.push(name);
            }
            Ok(found) => assert_eq!(found.len() as u64, EVENTS, "{name} holds none of it"),
            Err(other) => panic!("{other}"),
        }
        flip(&table, 20);
    }
    assert!(told.len() >= 2, "events and index are in tables of their own: {told:?}");
    is_whole(&folder);
}

#[test]
fn a_log_that_vanished_is_not_begun_anew() {
    let (home, folder) = filled();
    let aside = home.path().join("aside");
    fs::rename(&folder, &aside).unwrap();
    assert_eq!(is_refused_without_files(&folder), 0);
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    is_whole(&folder);
}

fn is_refused_without_files(folder: &Path) -> u64 {
    match open(folder).err().unwrap() {
        Error::Lost { last, witnessed: EVENTS, .. } => last,
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_log_in_its_place_is_seen() {
    let (home, folder) = filled();
    fs::rename(&folder, home.path().join("aside")).unwrap();
    fs::rename(witness::path_of(&folder), home.path().join("witness")).unwrap();
    fill(&folder, "L");
    fs::rename(home.path().join("witness"), witness::path_of(&folder)).unwrap();
    let error = open(&folder).err().unwrap();
    assert!(matches!(error, Error::OtherHistory { index: EVENTS, .. }), "{error:?}");
}

#[test]
fn the_witness_follows_within_its_lag_and_to_the_end_at_a_close() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("log");
    let log = open(&folder).unwrap();
    log.append(1, vec![record(1, "K", [""; 4]); 3]).wait().unwrap();
    let path = witness::path_of(&folder);
    let begun = std::time::Instant::now();
    while witness::read(&path).unwrap().is_none() {
        assert!(begun.elapsed().as_secs() < 30, "the log was not witnessed while it was idle");
        std::thread::yield_now();
    }
    assert_eq!(witness::read(&path).unwrap().unwrap().index, 3);
    log.append(4, vec![record(1, "K", [""; 4])]).wait().unwrap();
    drop(log);
    assert_eq!(witness::read(&path).unwrap().unwrap().index, 4);
}

#[test]
fn a_log_out_of_a_backup_is_believed_when_an_operator_restores_it_and_its_witness_follows_it_from_then_on() {
    let (home, folder) = filled();
    let backup = home.path().join("backup");
    fs::create_dir(&backup).unwrap();
    for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), backup.join(entry.file_name())).unwrap();
    }
    let log = open(&folder).unwrap();
    log.append(EVENTS + 1, vec![record(EVENTS, "K", ["c", "s/a", "aa", "x"])]).wait().unwrap();
    drop(log);
    fs::remove_dir_all(&folder).unwrap();
    let restored = || Rocks::open_restored(&folder, 0, Box::new(|error| panic!("the log ended: {error}")));
    assert!(matches!(restored().err().unwrap(), Error::NoLog { .. }), "no log is begun");
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&backup, &folder).unwrap();
    let refused = open(&folder).err().unwrap();
    assert!(matches!(refused, Error::Lost { last: EVENTS, .. }), "{refused:?}");

    let (log, against) = restored().unwrap();
    assert!(matches!(against, Some(Error::Lost { last: EVENTS, .. })), "{against:?}");
    log.append(EVENTS + 1, vec![record(EVENTS, "L", ["c", "s/a", "aa", "x"])]).wait().unwrap();
    drop(log);
    assert_eq!(witness::read(&witness::path_of(&folder)).unwrap().unwrap().index, EVENTS + 1);
    assert_eq!(open(&folder).unwrap().read(1, 10_000).unwrap().len() as u64, EVENTS + 1);
}
