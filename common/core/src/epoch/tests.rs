//! Given, when, then: when a log is too old, and what is taken over.

use super::*;
use crate::cluster::{Chain, Number, Proof};
use crate::desired::{Entry, Index, Mark, Policy};
use crate::event::HubFact;
use crate::given::{FIVE, about, app, chain, commit, digest, event};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

fn mark(epoch: u64, generation: u64) -> Mark {
    Mark { epoch, generation }
}

fn number(incarnation: u64, seq: u64) -> Number {
    Number { incarnation, seq }
}

fn index(at: Mark, apps: &[(&str, u8)]) -> Index {
    let policy = Policy {
        namespace: String::new(),
        create_namespace: false,
        prune: true,
        self_heal: true,
        allow_empty: false,
        max_deletes: FIVE,
    };
    let entry = |number: u8| Entry {
        since: at,
        digest: digest(number),
        sealed: digest(number),
        commit: commit('a'),
        policy: policy.clone(),
        approved: None,
        withdrawn: None,
        trace: None,
    };
    let entries = apps.iter().map(|(name, number)| (app(name), entry(*number)));
    Index { mark: at, entries: entries.collect::<BTreeMap<_, _>>() }
}

fn grant(epoch: u64) -> Grant {
    Grant { epoch, kind: GrantKind::Restore, signature: Vec::from([7; 64]) }
}

#[test]
fn kinds_of_grants_have_names_that_stay() {
    for (kind, name) in [(GrantKind::Restore, "restore"), (GrantKind::Failover, "failover")] {
        assert_eq!((kind.name(), GrantKind::parse(name)), (name, Some(kind)));
    }
    assert_eq!(GrantKind::parse("Restore"), None);
}

#[test]
fn the_restore_key_is_known_once_it_was_made() {
    let mut state = State::default();
    evolve(&mut state, 1, &event(HubFact::RestoreKeyMade { key: [7; 32] }));
    assert_eq!(state.restore_key, Some([7; 32]));
}

#[test]
fn a_log_is_too_old_if_its_own_words_say_more() {
    let known = (mark(1, 5), chain(2, 9));
    let held = |generation| Some(index(mark(1, generation), &[]));
    let cases: [(_, _, bool, Option<Evidence>); 8] = [
        (held(5), Some(number(2, 9)), true, None),
        (held(4), Some(number(1, 20)), true, None),
        (None, None, true, None),
        (held(6), None, true, Some(Evidence::Index { found: mark(1, 6), known: known.0 })),
        (
            held(5),
            Some(number(2, 10)),
            true,
            Some(Evidence::Receipt { found: number(2, 10), known: number(2, 9) }),
        ),
        (
            held(5),
            Some(number(3, 1)),
            true,
            Some(Evidence::Receipt { found: number(3, 1), known: number(2, 9) }),
        ),
        // After a restore it is known that the cluster has more events; a newer index would be of another restore.
        (held(5), Some(number(3, 1)), false, None),
        (held(6), Some(number(3, 1)), false, Some(Evidence::Index { found: mark(1, 6), known: known.0 })),
    ];
    for (index, receipt, adopted, expected) in cases {
        let proof = Proof { index, receipt, ..Proof::default() };
        assert_eq!(behind(&proof, known.0, &known.1, adopted), expected, "{proof:?}");
    }
    assert_eq!(older_than_file(1, 1), None);
    assert_eq!(older_than_file(1, 2), Some(Evidence::EpochFile { found: 2, known: 1 }));
    assert_eq!(older_than_file(3, 2), None, "the file is written after the log");
}

#[test]
fn a_new_epoch_is_above_everything_that_is_known() {
    let mut state = State::default();
    assert_eq!(raise(&state, 1, &grant(2)), Ok(HubFact::EpochRaised { grant: grant(2) }));
    assert_eq!(raise(&state, 1, &grant(1)), Err(Rejected::NotAbove { epoch: 1, highest: 1 }));
    let evidence = Evidence::Index { found: mark(4, 1), known: mark(1, 5) };
    evolve(&mut state, 7, &about("prod", HubFact::LogBehind { evidence }));
    assert_eq!(
        state.behind.as_ref().unwrap().to_string(),
        "cluster prod: it holds index 4.1, the log knows 1.5"
    );
    assert_eq!(raise(&state, 1, &grant(4)), Err(Rejected::NotAbove { epoch: 4, highest: 4 }));
    assert!(raise(&state, 1, &grant(5)).is_ok());
    evolve(&mut state, 8, &event(HubFact::EpochRaised { grant: grant(5) }));
    assert_eq!((&state.behind, state.raised, &state.grant), (&None, 8, &Some(grant(5))));
}

#[test]
fn what_was_lost_is_named_from_the_first_to_the_last_event() {
    let begin = Chain::default();
    for (known, receipted, expected) in [
        (chain(1, 9), chain(1, 9), None),
        (chain(1, 9), chain(1, 4), None),
        (begin, begin, None),
        (begin, chain(1, 3), Some((number(1, 1), number(1, 3)))),
        (chain(1, 9), chain(1, 15), Some((number(1, 10), number(1, 15)))),
        // The journal was lost meanwhile: nobody knows how many there were of the incarnation before.
        (chain(1, 9), chain(3, 2), Some((number(1, 10), number(3, 2)))),
        (chain(1, 9), chain(3, 0), None),
    ] {
        assert_eq!(lost(&known, &receipted), expected, "{known:?} {receipted:?}");
    }
}

#[test]
fn adopting_makes_the_log_say_what_the_cluster_holds() {
    let known = index(mark(1, 5), &[("fleet/web", 1), ("fleet/same", 2), ("fleet/gone", 3)]);
    let mut held = index(mark(1, 9), &[("fleet/web", 4), ("fleet/new", 5)]);
    let same = app("fleet/same");
    held.entries.insert(same.clone(), known.entries[&same].clone());
    let changes = adoption(Some(&held), &known);
    let mut after = known.clone();
    after.apply(mark(2, 6), &changes);
    assert_eq!(after.entries, held.entries);
    assert_eq!(changes.len(), 3, "what is the same is no change");
    assert_eq!(adoption(None, &known), Vec::new(), "an agent that holds nothing knows nothing better");
}

proptest::proptest! {
    #[test]
    fn adopting_twice_changes_nothing(
        known in proptest::collection::btree_map(0..6u8, 0..3u8, 0..6),
        held in proptest::collection::btree_map(0..6u8, 0..3u8, 0..6),
    ) {
        let made = |of: &BTreeMap<u8, u8>, at| {
            let names: Vec<(String, u8)> = of.iter().map(|(n, d)| (alloc::format!("fleet/a{n}"), *d)).collect();
            let apps: Vec<(&str, u8)> = names.iter().map(|(name, digest)| (name.as_str(), *digest)).collect();
            index(at, &apps)
        };
        let (mut known, held) = (made(&known, mark(1, 5)), made(&held, mark(1, 7)));
        let changes = adoption(Some(&held), &known);
        known.apply(mark(2, 1), &changes);
        proptest::prop_assert_eq!(&known.entries, &held.entries);
        proptest::prop_assert_eq!(adoption(Some(&held), &known), Vec::new());
    }
}
