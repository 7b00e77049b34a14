//! The suite that every log passes: one test for each promise of `mod.rs`.

use super::{EVENT_BYTES_MAX, EVENTS_MAX, Error, Filter, Keys, Log, PREFIX_MATCHES_MAX, Record, Stored};
use bytes::Bytes;
use taffrail_core::digest::Digest;
use taffrail_core::time::At;

/// Makes a test of each promise for one log: `make` gives a new, empty log and whatever must live as long as it.
macro_rules! conformance {
    ($make:expr => $($promise:ident)*) => {
        $(
            #[test]
            fn $promise() {
                let (log, _keep) = $make;
                $crate::log::conformance::$promise(&log);
            }
        )*
    };
    ($make:expr) => {
        $crate::log::conformance::conformance! { $make =>
            the_first_index_is_one_and_batches_stand_in_order
            a_wrong_index_is_refused_without_a_trace
            a_batch_with_one_bad_event_is_refused_whole
            time_never_goes_back
            an_empty_batch_resolves_behind_all_in_front_of_it
            bytes_come_back_as_they_were_given
            each_key_finds_its_events
            keys_together_find_what_matches_all
            texts_that_begin_alike_are_told_apart
            apps_are_found_with_and_without_their_source
            commits_are_found_by_their_beginning
            a_beginning_that_too_many_commits_share_is_refused
            pages_give_every_event_once_in_both_directions
            time_bounds_and_questions_as_of_a_time
            limits_hold
            large_events_end_a_page_early
            blobs_are_kept_replaced_listed_and_forgotten
        }
    };
}
pub(super) use conformance;

/// An event with the given keys: cluster, app, commit, actor; empty means none.
pub(super) fn record(at: u64, kind: &str, keys: [&str; 4]) -> Record {
    let [cluster, app, commit, actor] = keys.map(|text| (!text.is_empty()).then(|| text.to_owned()));
    let keys = Keys { cluster, app, commit, actor, kind: kind.to_owned() };
    let payload = Bytes::from(format!("{kind} at {at}"));
    Record { appended_at: At(at), header: Bytes::from_static(b"header"), payload, keys, own: true }
}

fn append(log: &dyn Log, batch: Vec<Record>) -> u64 {
    log.append(log.next_index(), batch).wait().expect("a good batch is taken")
}

fn indexes(events: &[Stored]) -> Vec<u64> {
    events.iter().map(|event| event.index).collect()
}

fn found(log: &dyn Log, filter: &Filter) -> Vec<u64> {
    indexes(&log.query(filter).expect("a good filter is answered"))
}

fn all() -> Filter {
    Filter { limit: EVENTS_MAX, ..Filter::default() }
}

fn text<'text>(text: impl Into<Option<&'text str>>) -> Option<String> {
    text.into().map(str::to_owned)
}

/// Ten events whose keys overlap in every way.
fn ten(log: &dyn Log) {
    let rows = [
        ("Seen", ["", "", "aa11", "git"]),
        ("Planned", ["north", "shop/web", "aa11", "hub"]),
        ("Planned", ["south", "shop/web", "aa11", "hub"]),
        ("Healthy", ["north", "shop/web", "aa11", "agent"]),
        ("Drifted", ["north", "shop/web", "", "agent"]),
        ("Seen", ["", "", "aa22", "git"]),
        ("Planned", ["north", "shop/db", "aa22", "hub"]),
        ("Planned", ["north", "tools/web", "bb33", "hub"]),
        ("Healthy", ["south", "shop/web", "aa11", "agent"]),
        ("Approved", ["south", "shop/web", "bb33", "ann"]),
    ];
    for (at, (kind, keys)) in (1..).zip(rows) {
        append(log, vec![record(at * 10, kind, keys)]);
    }
}

pub(super) fn the_first_index_is_one_and_batches_stand_in_order(log: &dyn Log) {
    assert_eq!((log.next_index(), *log.durable().borrow()), (1, 0));
    assert_eq!(log.read(1, 10).unwrap(), []);
    let batches = [1, 3, 2].map(|size| vec![record(5, "K", [""; 4]); size]);
    let mut tickets = Vec::new();
    for batch in batches {
        tickets.push(log.append(log.next_index(), batch));
    }
    let lasts: Vec<u64> = tickets.into_iter().map(|ticket| ticket.wait().unwrap()).collect();
    assert_eq!(lasts, [1, 4, 6]);
    assert_eq!((log.next_index(), *log.durable().borrow()), (7, 6));
    assert_eq!(indexes(&log.read(0, 100).unwrap()), [1, 2, 3, 4, 5, 6]);
    assert_eq!(indexes(&log.read(3, 2).unwrap()), [3, 4]);
    assert_eq!(log.read(7, 100).unwrap(), []);
    assert_eq!(log.read(u64::MAX, 100).unwrap(), []);
}

pub(super) fn a_wrong_index_is_refused_without_a_trace(log: &dyn Log) {
    append(log, vec![record(1, "K", [""; 4])]);
    for first in [0, 1, 3, u64::MAX] {
        let refused = log.append(first, vec![record(1, "K", [""; 4])]).wait();
        assert!(
            matches!(refused, Err(Error::WrongIndex { first: named, next: 2 }) if named == first),
            "{refused:?}"
        );
    }
    assert_eq!(append(log, vec![record(1, "K", [""; 4])]), 2);
}

pub(super) fn a_batch_with_one_bad_event_is_refused_whole(log: &dyn Log) {
    let huge = Record { payload: vec![0; EVENT_BYTES_MAX].into(), ..record(1, "K", [""; 4]) };
    let refused = log.append(1, vec![record(1, "K", [""; 4]), huge]).wait();
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    assert_eq!(log.next_index(), 1);
    assert_eq!(append(log, vec![record(1, "K", [""; 4])]), 1);
    assert_eq!(log.read(1, 10).unwrap().len(), 1);
}

pub(super) fn time_never_goes_back(log: &dyn Log) {
    append(log, vec![record(5, "K", [""; 4]), record(5, "K", [""; 4])]);
    assert_eq!(log.last_at(), At(5));
    for ats in [vec![4], vec![6, 5]] {
        let batch = ats.iter().map(|at| record(*at, "K", [""; 4])).collect();
        let refused = log.append(3, batch).wait();
        assert!(matches!(refused, Err(Error::TimeWentBack { .. })), "{refused:?}");
    }
    assert_eq!((log.last_at(), log.next_index()), (At(5), 3));
}

pub(super) fn an_empty_batch_resolves_behind_all_in_front_of_it(log: &dyn Log) {
    assert_eq!(log.append(1, vec![]).wait().unwrap(), 0);
    let batch = log.append(1, vec![record(1, "K", [""; 4])]);
    assert_eq!(log.append(2, vec![]).wait().unwrap(), 1);
    assert_eq!(batch.wait().unwrap(), 1);
    assert!(log.append(5, vec![]).wait().is_err());
}

pub(super) fn bytes_come_back_as_they_were_given(log: &dyn Log) {
    let bytes = [Bytes::new(), Bytes::from_static(b"\0\xff"), Bytes::from(vec![7; 100_000])];
    let mut index = 0;
    for header in &bytes {
        for payload in &bytes {
            let (header, payload) = (header.clone(), payload.clone());
            let keys = Keys { kind: "of/a future\0version".into(), ..Keys::default() };
            index = append(log, vec![Record { appended_at: At(index), header, payload, keys, own: true }]);
        }
    }
    let read = log.read(1, 100).unwrap();
    let kind = Filter { kind: text("of/a future\0version"), ..all() };
    assert_eq!(log.query(&kind).unwrap(), read, "an unknown kind is found like any other");
    let pairs: Vec<(Bytes, Bytes)> = bytes
        .iter()
        .flat_map(|header| bytes.iter().map(|payload| (header.clone(), payload.clone())))
        .collect();
    let read: Vec<(Bytes, Bytes)> = read.into_iter().map(|event| (event.header, event.payload)).collect();
    assert_eq!(read, pairs);
}

pub(super) fn each_key_finds_its_events(log: &dyn Log) {
    ten(log);
    let cases = [
        (all(), vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (Filter { cluster: text("north"), ..all() }, vec![2, 4, 5, 7, 8]),
        (Filter { app: text("shop/web"), ..all() }, vec![2, 3, 4, 5, 9, 10]),
        (Filter { commit: text("aa22"), ..all() }, vec![6, 7]),
        (Filter { actor: text("git"), ..all() }, vec![1, 6]),
        (Filter { kind: text("Drifted"), ..all() }, vec![5]),
        (Filter { kind: text("Nothing"), ..all() }, vec![]),
        (Filter { cluster: text(""), ..all() }, vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(found(log, &filter), expected, "{filter:?}");
        let reversed: Vec<u64> = expected.into_iter().rev().collect();
        let filter = Filter { newest_first: true, ..filter };
        assert_eq!(found(log, &filter), reversed, "{filter:?}");
    }
}

pub(super) fn keys_together_find_what_matches_all(log: &dyn Log) {
    ten(log);
    let north = Filter { cluster: text("north"), ..all() };
    let cases = [
        (Filter { app: text("shop/web"), ..north.clone() }, vec![2, 4, 5]),
        (Filter { commit: text("aa11"), ..north.clone() }, vec![2, 4]),
        (Filter { commit: text("aa"), kind: text("Planned"), ..north.clone() }, vec![2, 7]),
        (Filter { app: text("web"), kind: text("Planned"), ..north.clone() }, vec![2, 8]),
        (Filter { actor: text("ann"), ..north.clone() }, vec![]),
        (Filter { after: Some(2), before: Some(8), ..north.clone() }, vec![4, 5, 7]),
        (Filter { from: Some(At(50)), to: Some(At(79)), ..north.clone() }, vec![5, 7]),
        (Filter { from: Some(At(50)), after: Some(5), ..north }, vec![7, 8]),
    ];
    for (filter, expected) in cases {
        assert_eq!(found(log, &filter), expected, "{filter:?}");
    }
}

pub(super) fn texts_that_begin_alike_are_told_apart(log: &dyn Log) {
    let texts = ["a", "aa", "a\0", "a\0b", "b"];
    for actor in texts {
        append(log, vec![record(1, "K", ["", "", "", actor])]);
    }
    for (index, actor) in (1..).zip(texts) {
        assert_eq!(found(log, &Filter { actor: text(actor), ..all() }), [index], "{actor:?}");
    }
}

pub(super) fn apps_are_found_with_and_without_their_source(log: &dyn Log) {
    for app in ["shop/web", "tools/web", "shop/webs", "web/shop", "web"] {
        append(log, vec![record(1, "K", ["", app, "", ""])]);
    }
    for (app, expected) in [("shop/web", vec![1]), ("web", vec![1, 2, 5]), ("shop", vec![4]), ("we", vec![])]
    {
        assert_eq!(found(log, &Filter { app: text(app), ..all() }), expected, "{app:?}");
    }
}

pub(super) fn commits_are_found_by_their_beginning(log: &dyn Log) {
    for commit in ["aa11", "ab22", "aa11", "aa12", "b"] {
        append(log, vec![record(1, "K", ["", "", commit, ""])]);
    }
    append(log, vec![record(1, "K", [""; 4])]);
    let cases = [
        ("aa11", vec![1, 3]),
        ("aa1", vec![1, 3, 4]),
        ("a", vec![1, 2, 3, 4]),
        ("aa113", vec![]),
        ("c", vec![]),
    ];
    for (commit, expected) in cases {
        let filter = Filter { commit: text(commit), ..all() };
        assert_eq!(found(log, &filter), expected, "{commit:?}");
        let reversed: Vec<u64> = expected.into_iter().rev().collect();
        assert_eq!(found(log, &Filter { newest_first: true, ..filter }), reversed, "{commit:?}");
    }
}

pub(super) fn a_beginning_that_too_many_commits_share_is_refused(log: &dyn Log) {
    let commits: Vec<String> = (0..PREFIX_MATCHES_MAX).map(|commit| format!("a{commit:04}")).collect();
    append(log, commits.iter().map(|commit| record(1, "K", ["", "", commit, ""])).collect());
    let filter = Filter { commit: text("a"), ..all() };
    assert_eq!(found(log, &filter).len(), PREFIX_MATCHES_MAX);
    append(log, vec![record(1, "K", ["", "", "afff", ""])]);
    let refused = log.query(&filter);
    assert!(matches!(refused, Err(Error::Ambiguous { .. })), "{refused:?}");
    assert_eq!(found(log, &Filter { commit: text("af"), ..all() }).len(), 1);
}

pub(super) fn pages_give_every_event_once_in_both_directions(log: &dyn Log) {
    let kinds = ["Odd", "Even"];
    append(log, (0..57).zip(kinds.into_iter().cycle()).map(|(at, kind)| record(at, kind, [""; 4])).collect());
    for kind in [None, text("Even")] {
        let mut filter = Filter { kind, limit: 7, ..Filter::default() };
        let whole = found(log, &Filter { limit: EVENTS_MAX, ..filter.clone() });
        let mut up = Vec::new();
        while let Some(last) = {
            up.extend(found(log, &filter));
            up.last().copied()
        } {
            if filter.after.replace(last) == Some(last) {
                break;
            }
        }
        assert_eq!(up, whole);
        filter = Filter { after: None, newest_first: true, ..filter };
        let mut down = Vec::new();
        while let Some(last) = {
            down.extend(found(log, &filter));
            down.last().copied()
        } {
            if filter.before.replace(last) == Some(last) {
                break;
            }
        }
        down.reverse();
        assert_eq!(down, whole);
    }
}

pub(super) fn time_bounds_and_questions_as_of_a_time(log: &dyn Log) {
    assert_eq!(log.at_time(At(5)).unwrap(), 0);
    append(log, [10, 20, 20, 20, 30].map(|at| record(at, "K", [""; 4])).to_vec());
    let cases = [(0, 0), (9, 0), (10, 1), (19, 1), (20, 4), (29, 4), (30, 5), (u64::MAX, 5)];
    for (at, expected) in cases {
        assert_eq!(log.at_time(At(at)).unwrap(), expected, "at {at}");
        assert_eq!(found(log, &Filter { to: Some(At(at)), ..all() }).len() as u64, expected, "to {at}");
        let from = Filter { from: Some(At(at).plus(taffrail_core::time::Span(1))), ..all() };
        let behind = if at == u64::MAX { 0 } else { 5 - expected };
        assert_eq!(found(log, &from).len() as u64, behind, "from behind {at}");
    }
}

pub(super) fn limits_hold(log: &dyn Log) {
    let many = EVENTS_MAX + 5;
    append(log, (0..many).map(|_| record(1, "K", [""; 4])).collect());
    assert_eq!(log.read(1, 0).unwrap(), []);
    assert_eq!(log.read(1, u32::MAX).unwrap().len(), EVENTS_MAX as usize);
    for kind in [None, text("K")] {
        for (limit, expected) in [(0, 0), (1, 1), (u32::MAX, EVENTS_MAX as usize)] {
            let filter = Filter { kind: kind.clone(), limit, ..Filter::default() };
            assert_eq!(log.query(&filter).unwrap().len(), expected, "{filter:?}");
        }
    }
}

pub(super) fn large_events_end_a_page_early(log: &dyn Log) {
    let large = Record { payload: vec![1; EVENT_BYTES_MAX - 6].into(), ..record(1, "K", [""; 4]) };
    append(log, vec![large; 6]);
    assert_eq!(indexes(&log.read(1, 100).unwrap()), [1, 2, 3, 4]);
    assert_eq!(indexes(&log.read(5, 100).unwrap()), [5, 6]);
    let newest = Filter { kind: text("K"), newest_first: true, ..all() };
    assert_eq!(found(log, &newest), [6, 5, 4, 3]);
}

pub(super) fn blobs_are_kept_replaced_listed_and_forgotten(log: &dyn Log) {
    let digests = [1, 2, 3].map(|byte| Digest([byte; 32]));
    let blobs = [Bytes::new(), Bytes::from(vec![9; 300_000]), Bytes::from_static(b"small")];
    for (digest, blob) in digests.iter().zip(&blobs) {
        assert!(!log.has_blob(digest).unwrap());
        assert_eq!(log.get_blob(digest).unwrap(), None);
        log.put_blob(*digest, blob.clone()).wait().unwrap();
        assert!(log.has_blob(digest).unwrap());
        assert_eq!(log.get_blob(digest).unwrap().as_ref(), Some(blob));
    }
    let listed = || -> Vec<(Digest, u64)> {
        log.list_blobs().unwrap().into_iter().map(|blob| (blob.digest, blob.bytes)).collect()
    };
    assert_eq!(listed(), [(digests[0], 0), (digests[1], 300_000), (digests[2], 5)]);
    log.put_blob(digests[2], Bytes::from_static(b"larger")).wait().unwrap();
    log.remove_blob(digests[0]).wait().unwrap();
    log.remove_blob(Digest([9; 32])).wait().unwrap();
    assert_eq!(listed(), [(digests[1], 300_000), (digests[2], 6)]);
    assert_eq!(log.next_index(), 1, "blobs are not events");
    let event = record(1, "K", [""; 4]);
    let behind = {
        drop(log.put_blob(digests[0], Bytes::from_static(b"first")));
        log.append(1, vec![event])
    };
    behind.wait().unwrap();
    assert!(log.has_blob(&digests[0]).unwrap(), "a blob in front of a durable event is durable");
}
