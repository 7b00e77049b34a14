//! Given, when, then: order, guards, what becomes of objects, and how long a fight waits.

use super::fight::Fights;
use super::plan::{is_waited_for, stages};
use super::prune::{Fate, Rules, guard};
use crate::catalog::MaxDeletes;
use crate::desired::{Entry, Mark, Policy};
use crate::given::{commit, digest};
use crate::object::Key;
use crate::time::{At, Span};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use proptest::prelude::*;

fn key(group: &str, kind: &str, name: &str) -> Key {
    Key { group: group.into(), kind: kind.into(), namespace: String::new(), name: name.into() }
}

fn entry(max_deletes: MaxDeletes) -> Entry {
    let policy = Policy {
        namespace: String::new(),
        create_namespace: false,
        prune: true,
        self_heal: true,
        allow_empty: false,
        max_deletes,
    };
    Entry {
        since: Mark::default(),
        digest: digest(1),
        sealed: digest(2),
        commit: commit('a'),
        policy,
        approved: None,
        withdrawn: None,
        trace: None,
    }
}

#[test]
fn stages_begin_with_what_the_rest_needs() {
    let keys = [
        key("example.com", "Widget", "w"),
        key("", "Namespace", "web"),
        key("apps", "Deployment", "web"),
        key("apiextensions.k8s.io", "CustomResourceDefinition", "widgets"),
        key("", "ConfigMap", "web"),
    ];
    let stages = stages(keys.iter());
    let kinds = |keys: &Vec<Key>| keys.iter().map(|key| key.kind.clone()).collect::<Vec<_>>();
    assert_eq!(
        stages.iter().map(kinds).collect::<Vec<_>>(),
        [
            Vec::from(["Namespace".to_string()]),
            Vec::from(["CustomResourceDefinition".to_string()]),
            Vec::from(["ConfigMap".to_string(), "Deployment".to_string(), "Widget".to_string()]),
        ]
    );
}

#[test]
fn deletions_wait_for_workloads_and_not_for_addresses() {
    for (group, kind, waits) in [
        ("apps", "Deployment", true),
        ("apps", "StatefulSet", true),
        ("apps", "DaemonSet", true),
        ("batch", "Job", true),
        ("argoproj.io", "Rollout", true),
        ("apiextensions.k8s.io", "CustomResourceDefinition", true),
        ("", "Service", false),
        ("networking.k8s.io", "Ingress", false),
        ("example.com", "Deployment", false),
    ] {
        assert_eq!(is_waited_for(&key(group, kind, "x")), waits, "{group} {kind}");
    }
}

#[test]
fn a_guard_speaks_with_numbers_and_an_approval_of_this_bundle_silences_it() {
    let mut entry = entry(MaxDeletes::Percent(20));
    let said = guard(&entry, 10, 6, 4);
    assert_eq!(said.as_deref(), Some("4 of 10 objects would be deleted, more than 20 %"));
    assert_eq!(
        guard(&entry, 10, 0, 10).as_deref(),
        Some("the bundle is empty and would delete all 10 objects")
    );
    entry.approved = Some(digest(9));
    assert!(guard(&entry, 10, 6, 4).is_some(), "another bundle was approved");
    entry.approved = Some(entry.digest);
    assert_eq!(guard(&entry, 10, 0, 10), None);
    entry.approved = None;
    entry.policy.prune = false;
    assert_eq!(guard(&entry, 10, 0, 10), None, "nothing would be deleted");
}

#[test]
fn what_left_is_deleted_held_or_kept() {
    let left = [
        key("", "ConfigMap", "a"),
        key("", "Namespace", "web"),
        key("", "PersistentVolumeClaim", "data"),
        key("", "Secret", "kept"),
    ];
    let fates = |rules: Rules| left.each_ref().map(|key| rules.fate(key, key.name == "kept"));
    let mut entry = entry(MaxDeletes::Percent(20));
    assert_eq!(fates(Rules::of(&entry)), [Fate::Delete, Fate::Held, Fate::Held, Fate::Kept]);
    entry.approved = Some(digest(9));
    assert_eq!(fates(Rules::of(&entry))[1], Fate::Held, "another bundle was approved");
    entry.approved = Some(entry.digest);
    assert_eq!(fates(Rules::of(&entry)), [Fate::Delete, Fate::Delete, Fate::Delete, Fate::Kept]);
    entry.policy.prune = false;
    assert_eq!(fates(Rules::of(&entry)), [Fate::Kept; 4]);
}

proptest! {
    /// However often a field is healed, the wait never shrinks while the fight lasts, and ends at five minutes.
    #[test]
    fn a_fight_waits_longer_and_longer(rounds in 1..30usize) {
        let (key, field) = (key("", "ConfigMap", "web"), [".data.mode".to_string()]);
        let (mut fights, mut at, mut last) = (Fights::default(), At(1_000), Span(0));
        for round in 1..=rounds {
            let attempts = fights.healed(&key, &field, at);
            prop_assert_eq!(attempts as usize, round);
            let wait = fights.allowed_at(&key, &field).since(at);
            prop_assert!(wait >= last && wait <= Span::secs(300), "{:?} after {:?}", wait, last);
            last = wait;
            at = at.plus(wait);
        }
    }
}

#[test]
fn a_fight_is_over_after_ten_quiet_minutes_and_other_fields_never_wait() {
    let (one, field) = (key("", "ConfigMap", "web"), [".data.mode".to_string()]);
    let other = [".data.other".to_string()];
    let both = [field[0].clone(), other[0].clone()];
    let mut fights = Fights::default();
    for second in 0..5 {
        fights.healed(&one, &field, At(second * 1_000));
    }
    assert!(fights.knows(&one));
    assert!(fights.allowed_at(&one, &field) > At(4_000));
    assert_eq!(fights.allowed_at(&one, &other), At(0), "another field of the object");
    assert_eq!(fights.allowed_at(&one, &both), At(0), "the free one heals both");
    assert_eq!(fights.allowed_at(&key("", "Secret", "web"), &field), At(0), "another object");
    assert_eq!(fights.healed(&one, &field, At(604_000)), 1, "counted from the beginning");
    fights.healed(&one, &other, At(704_000));
    assert_eq!(fights.healed(&one, &field, At(1_204_000)), 1, "though the object was healed since");
    fights.forget(&one);
    assert!(!fights.knows(&one));
}
