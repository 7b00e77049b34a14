//! The suite that every journal passes: one test for each promise of `mod.rs`.

use super::{Error, Journal, Mark, Numbered, VALUE_BYTES_MAX, Write};
use bytes::Bytes;
use taffrail_core::digest::Digest;

/// Makes a test of each promise for one journal: `make` gives a new, empty journal of incarnation 3 and whatever must live as long.
macro_rules! conformance {
    ($make:expr => $($promise:ident)*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let (journal, _keep) = $make;
                $crate::journal::conformance::$promise(&journal).await;
            }
        )*
    };
    ($make:expr) => {
        $crate::journal::conformance::conformance! { $make =>
            a_new_journal_is_empty
            what_was_committed_is_loaded
            later_writes_of_a_commit_win
            a_body_stays_while_a_bundle_needs_it
            a_refused_write_takes_the_whole_commit_with_it
            events_stay_until_a_receipt_covers_them
            receipts_are_cumulative_and_older_ones_change_nothing
            a_part_of_the_outbox_keeps_the_limits
            values_above_the_limit_are_refused
        }
    };
}
pub(super) use conformance;

/// Event number `seq` with bytes that name it.
pub(super) fn row(seq: u64) -> Numbered {
    let (header, payload) = (format!("header {seq}").into(), format!("payload {seq}").into());
    Numbered { seq, header, payload }
}

pub(super) fn events(seqs: std::ops::RangeInclusive<u64>) -> Write {
    let last_hash = hash(*seqs.end());
    Write::AppendEvents { rows: seqs.map(row).collect(), last_hash }
}

/// The head of the chain after event `seq`, as the tests write it.
pub(super) fn hash(seq: u64) -> Digest {
    let mut digest = Digest::default();
    digest.0[..8].copy_from_slice(&seq.to_be_bytes());
    digest
}

fn seqs(rows: &[Numbered]) -> Vec<u64> {
    rows.iter().map(|row| row.seq).collect()
}

/// A bundle of objects whose bodies follow from their numbers.
fn bundle(digest: u8, contents: &[u8]) -> Write {
    let bodies = contents.iter().map(|content| (Digest([*content; 32]), body(*content)));
    Write::PutBundle { digest: Digest([digest; 32]), bodies: bodies.collect() }
}

fn body(content: u8) -> Bytes {
    vec![content; 20_000].into()
}

fn item(app: &str, name: &str, state: u8) -> Write {
    Write::PutItem { app: app.into(), name: name.into(), bytes: vec![state].into() }
}

/// Names and states of an app's objects.
fn items_of(journal: &dyn Journal, app: &str) -> Vec<(String, u8)> {
    let items = journal.load().unwrap().items.remove(app).unwrap_or_default();
    items.into_iter().map(|(name, bytes)| (name, bytes[0])).collect()
}

/// Which of these objects have a body.
fn bodies_of(journal: &dyn Journal, contents: &[u8]) -> Vec<u8> {
    let held = |content: &&u8| journal.body(&Digest([**content; 32])).unwrap() == Some(body(**content));
    contents.iter().filter(held).copied().collect()
}

/// One write of each kind, numbered events from 1.
pub(super) fn one_of_each() -> Vec<Write> {
    vec![
        Write::PutIndex { bytes: Bytes::from_static(b"index") },
        Write::PutMark(Mark { epoch: 2, generation: 9 }),
        bundle(1, &[11, 12, 13]),
        bundle(2, &[]),
        Write::PutInstance { app: "shop/web".into(), bytes: Bytes::from_static(b"\0state\xff") },
        item("shop/web", "one", 1),
        item("shop/web", "two", 2),
        item("shop/webs", "one", 3),
        events(1..=3),
        Write::PutSetting { key: "freeze".into(), bytes: Bytes::from_static(b"on") },
    ]
}

pub(super) async fn a_new_journal_is_empty(journal: &dyn Journal) {
    let snapshot = journal.load().unwrap();
    let expected = super::Snapshot { incarnation: 3, next_seq: 1, ..super::Snapshot::default() };
    assert_eq!(snapshot, expected);
    assert_eq!(journal.outbox_from(0, 10, 1_000).unwrap(), []);
    assert_eq!(journal.bundle(&Digest([1; 32])).unwrap(), None);
}

pub(super) async fn what_was_committed_is_loaded(journal: &dyn Journal) {
    journal.commit(vec![]).await.unwrap();
    journal.commit(one_of_each()).await.unwrap();
    let snapshot = journal.load().unwrap();
    assert_eq!(snapshot.index.as_deref(), Some(&b"index"[..]));
    assert_eq!(snapshot.mark, Some(Mark { epoch: 2, generation: 9 }));
    assert_eq!(snapshot.bundles, [(Digest([1; 32]), 3), (Digest([2; 32]), 0)].into());
    assert_eq!(snapshot.instances, [("shop/web".to_owned(), Bytes::from_static(b"\0state\xff"))].into());
    assert_eq!(snapshot.settings, [("freeze".to_owned(), Bytes::from_static(b"on"))].into());
    assert_eq!((snapshot.next_seq, snapshot.last_hash, snapshot.receipted), (4, hash(3), 0));
    assert_eq!(snapshot.outbox_bytes, 3 * ("header 1".len() + "payload 1".len()) as u64);
    let contents = [11, 12, 13].map(|content| Digest([content; 32]));
    assert_eq!(journal.bundle(&Digest([1; 32])).unwrap().unwrap(), contents);
    assert_eq!(bodies_of(journal, &[10, 11, 12, 13]), [11, 12, 13]);
    assert_eq!(items_of(journal, "shop/web"), [("one".to_owned(), 1), ("two".to_owned(), 2)]);
    assert_eq!(journal.outbox_from(1, 10, 1_000).unwrap(), [row(1), row(2), row(3)]);
}

pub(super) async fn later_writes_of_a_commit_win(journal: &dyn Journal) {
    journal.commit(one_of_each()).await.unwrap();
    let writes = vec![
        Write::PutMark(Mark { epoch: 3, generation: 1 }),
        Write::PutMark(Mark { epoch: 3, generation: 2 }),
        Write::RemoveInstance { app: "shop/web".into() },
        Write::PutInstance { app: "shop/db".into(), bytes: Bytes::new() },
        Write::RemoveInstance { app: "never".into() },
        bundle(1, &[11, 14]),
        Write::RemoveBundle { digest: Digest([2; 32]) },
        item("shop/db", "one", 5),
        item("shop/db", "two", 6),
        Write::RemoveItem { app: "shop/db".into(), name: "one".into() },
        Write::RemoveItem { app: "shop/db".into(), name: "never".into() },
        Write::RemoveSetting { key: "freeze".into() },
        Write::RemoveSetting { key: "never".into() },
        Write::RemoveBundle { digest: Digest([9; 32]) },
        events(4..=4),
        Write::Receipt { seq: 2 },
        events(5..=5),
    ];
    journal.commit(writes).await.unwrap();
    let snapshot = journal.load().unwrap();
    assert_eq!(snapshot.mark, Some(Mark { epoch: 3, generation: 2 }));
    assert_eq!(snapshot.bundles, [(Digest([1; 32]), 2)].into());
    assert_eq!(snapshot.settings, [].into());
    assert_eq!(items_of(journal, "shop/web"), [], "an instance takes its objects with it");
    assert_eq!(items_of(journal, "shop/webs"), [("one".to_owned(), 3)]);
    assert_eq!(items_of(journal, "shop/db"), [("two".to_owned(), 6)]);
    assert_eq!(snapshot.instances, [("shop/db".to_owned(), Bytes::new())].into());
    assert_eq!((snapshot.next_seq, snapshot.receipted), (6, 2));
    assert_eq!(seqs(&journal.outbox_from(0, 10, 1_000).unwrap()), [3, 4, 5]);
}

pub(super) async fn a_body_stays_while_a_bundle_needs_it(journal: &dyn Journal) {
    journal.commit(vec![bundle(1, &[11, 12]), bundle(2, &[12, 13])]).await.unwrap();
    journal.commit(vec![Write::RemoveBundle { digest: Digest([1; 32]) }]).await.unwrap();
    assert_eq!(bodies_of(journal, &[11, 12, 13]), [12, 13]);
    assert_eq!(journal.bundle(&Digest([1; 32])).unwrap(), None);
    journal.commit(vec![Write::RemoveBundle { digest: Digest([2; 32]) }]).await.unwrap();
    assert_eq!(bodies_of(journal, &[11, 12, 13]), [0; 0]);
}

pub(super) async fn a_refused_write_takes_the_whole_commit_with_it(journal: &dyn Journal) {
    journal.commit(one_of_each()).await.unwrap();
    let before = journal.load().unwrap();
    for bad in [events(3..=4), events(5..=5), Write::Receipt { seq: 4 }] {
        let mark = Write::PutMark(Mark { epoch: 9, generation: 9 });
        let refused = journal.commit(vec![mark, Write::Receipt { seq: 1 }, bad.clone()]).await.unwrap_err();
        assert!(!refused.is_fatal(), "{bad:?}: {refused}");
        assert_eq!(journal.load().unwrap(), before, "{bad:?}");
    }
    journal.commit(vec![events(4..=4)]).await.unwrap();
}

pub(super) async fn events_stay_until_a_receipt_covers_them(journal: &dyn Journal) {
    journal.commit(vec![events(1..=5)]).await.unwrap();
    for (receipt, left) in [(2, vec![3, 4, 5]), (5, vec![])] {
        journal.commit(vec![Write::Receipt { seq: receipt }]).await.unwrap();
        assert_eq!(seqs(&journal.outbox_from(0, 10, 1_000).unwrap()), left);
    }
    let snapshot = journal.load().unwrap();
    assert_eq!((snapshot.next_seq, snapshot.receipted, snapshot.last_hash), (6, 5, hash(5)));
    journal.commit(vec![events(6..=6)]).await.unwrap();
    assert_eq!(seqs(&journal.outbox_from(6, 10, 1_000).unwrap()), [6], "numbers are never used again");
}

pub(super) async fn receipts_are_cumulative_and_older_ones_change_nothing(journal: &dyn Journal) {
    journal.commit(vec![events(1..=5), Write::Receipt { seq: 3 }]).await.unwrap();
    for older in [0, 1, 3] {
        journal.commit(vec![Write::Receipt { seq: older }]).await.unwrap();
        assert_eq!(journal.load().unwrap().receipted, 3);
        assert_eq!(seqs(&journal.outbox_from(0, 10, 1_000).unwrap()), [4, 5]);
    }
    let refused = journal.commit(vec![Write::Receipt { seq: 6 }]).await.unwrap_err();
    assert!(matches!(refused, Error::WrongReceipt { seq: 6, next: 6 }), "{refused}");
}

pub(super) async fn a_part_of_the_outbox_keeps_the_limits(journal: &dyn Journal) {
    journal.commit(vec![events(1..=9)]).await.unwrap();
    let each = ("header 1".len() + "payload 1".len()) as u64;
    let cases = [
        (1, 0, 1_000, vec![]),
        (1, 2, 1_000, vec![1, 2]),
        (4, 100, 1_000, vec![4, 5, 6, 7, 8, 9]),
        (1, 100, 3 * each, vec![1, 2, 3]),
        (1, 100, 3 * each - 1, vec![1, 2]),
        (7, 100, 1, vec![7]),
        (10, 100, 1_000, vec![]),
        (u64::MAX, 100, 1_000, vec![]),
    ];
    for (from, count, bytes, expected) in cases {
        let rows = journal.outbox_from(from, count, bytes).unwrap();
        assert_eq!(seqs(&rows), expected, "from {from}, {count} events, {bytes} bytes");
    }
}

pub(super) async fn values_above_the_limit_are_refused(journal: &dyn Journal) {
    let bytes = Bytes::from(vec![0; VALUE_BYTES_MAX + 1]);
    let row = Numbered { seq: 1, header: Bytes::new(), payload: bytes.clone() };
    let writes = [
        Write::PutIndex { bytes: bytes.clone() },
        Write::PutBundle { digest: Digest([1; 32]), bodies: vec![(Digest([1; 32]), bytes.clone())] },
        Write::PutItem { app: "a".into(), name: "a".into(), bytes: bytes.clone() },
        Write::PutInstance { app: "a".into(), bytes: bytes.clone() },
        Write::PutSetting { key: "a".into(), bytes },
        Write::AppendEvents { rows: vec![row], last_hash: Digest::default() },
    ];
    for write in writes {
        let refused = journal.commit(vec![write]).await.unwrap_err();
        assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
    }
    a_new_journal_is_empty(journal).await;
}
