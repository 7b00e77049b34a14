//! Given, when, then: what looks at a repository mean, and what people may order.

use super::*;
use crate::event::{HubEvent, HubFact};
use crate::given::{commit, digest, event, judged, person, sighting, source, track};
use crate::time::At;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use proptest::prelude::*;

/// A name, the looks before, the look, the kind of its fact, the head then, and whether it is parked.
type Look = (&'static str, &'static [(char, bool)], (char, bool), Option<&'static str>, char, bool);

fn state(looks: &[(char, bool)]) -> State {
    let mut state = State::default();
    for (at, (letter, descends)) in looks.iter().enumerate() {
        look(&mut state, *letter, *descends, at as u64);
    }
    state
}

fn look(state: &mut State, letter: char, descends: bool, index: u64) -> Option<&'static str> {
    let event = sight(state, &judged(state, sighting(&track("main"), letter, descends)), At(index))?;
    evolve(state, index, &event);
    Some(event.fact.kind())
}

fn see(state: &mut State, sighting: &Sighting, index: u64) {
    let event = sight(state, &judged(state, sighting.clone()), At(index)).unwrap();
    evolve(state, index, &event);
}

fn add(state: &mut State, name: &str, revision: &str) {
    let (source, track) = (source(name), track(revision));
    let command = Command::Add { source, track, path: String::new() };
    for event in decide(state, &command, &person(), At(0)).unwrap() {
        evolve(state, 0, &event);
    }
}

fn head(state: &State) -> Option<char> {
    state.head(&track("main"))?.commit.as_str().chars().next()
}

#[test]
fn a_look_is_a_commit_a_rewrite_or_nothing() {
    let cases: [Look; 8] = [
        ("first sight", &[], ('a', true), Some("CommitSeen"), 'a', false),
        ("the same head", &[('a', true)], ('a', true), None, 'a', false),
        ("a descendant", &[('a', true)], ('b', true), Some("CommitSeen"), 'b', false),
        ("a rewrite", &[('a', true)], ('b', false), Some("HistoryRewritten"), 'a', true),
        ("the same rewrite", &[('a', true), ('b', false)], ('b', false), None, 'a', true),
        ("another rewrite", &[('a', true), ('b', false)], ('c', false), Some("HistoryRewritten"), 'a', true),
        ("back at the old head", &[('a', true), ('b', false)], ('a', true), Some("CommitSeen"), 'a', false),
        ("a descendant of it", &[('a', true), ('b', false)], ('c', true), Some("CommitSeen"), 'c', false),
    ];
    for (name, before, (letter, descends), kind, now, parked) in cases {
        let mut state = state(before);
        assert_eq!(look(&mut state, letter, descends, 9), kind, "{name}");
        assert_eq!(head(&state), Some(now), "{name}");
        assert_eq!(state.tracks[&track("main")].parked.is_some(), parked, "{name}");
    }
}

#[test]
fn allowing_takes_the_rewritten_head_of_every_revision_of_the_repository() {
    let mut state = state(&[('a', true), ('b', false)]);
    add(&mut state, "fleet", "main");
    let allow = Command::Allow(source("fleet"));
    let events = decide(&state, &allow, &person(), At(3)).unwrap();
    assert_eq!(events.len(), 1);
    for event in &events {
        evolve(&mut state, 7, event);
    }
    assert_eq!((head(&state), state.tracks[&track("main")].parked.clone()), (Some('b'), None));
    let again = decide(&state, &allow, &person(), At(4));
    assert_eq!(again, Err(Rejected::NotParked(source("fleet"))));
    assert_eq!(look(&mut state, 'b', true, 8), None, "the allowed head is no news");
}

/// A look takes time. What it found is judged against the head that was accepted when it began.
#[test]
fn a_look_that_began_before_a_person_allowed_another_head_means_nothing() {
    for (found, descends) in [('c', false), ('d', true), ('b', false)] {
        let mut state = state(&[('a', true), ('b', false)]);
        add(&mut state, "fleet", "main");
        let running = judged(&state, sighting(&track("main"), found, descends));
        for event in decide(&state, &Command::Allow(source("fleet")), &person(), At(3)).unwrap() {
            evolve(&mut state, 7, &event);
        }
        assert_eq!(sight(&state, &running, At(8)), None, "{found} was compared with a, and b is allowed");
        let next = look(&mut state, 'c', true, 9);
        assert_eq!((next, head(&state)), (Some("CommitSeen"), Some('c')), "the next look tells");
    }
}

#[test]
fn what_moves_together_is_one_commit_and_what_moved_apart_is_not_taken_along() {
    let mut state = state(&[('a', true)]);
    let mut one = sighting(&track("v1"), 'a', true);
    see(&mut state, &one, 1);
    // A third revision was parked in between.
    one.track = track("v2");
    see(&mut state, &one, 2);
    let rewritten = sighting(&track("v2"), 'c', false);
    see(&mut state, &rewritten, 3);
    let mut together = sighting(&track("main"), 'b', true);
    together.also = Vec::from(["v1".to_string(), "v2".to_string(), "v3".to_string()]);
    let event = sight(&state, &judged(&state, together), At(4)).unwrap();
    let HubFact::CommitSeen { also, .. } = &event.fact else { panic!("{event:?}") };
    assert_eq!(*also, ["v1"]);
    evolve(&mut state, 4, &event);
    assert_eq!(state.head(&track("v1")).unwrap().commit, commit('b'));
    assert!(state.tracks[&track("v2")].parked.is_some());
}

#[test]
fn adding_twice_changes_nothing_and_another_repository_of_that_name_is_refused() {
    let mut state = State::default();
    add(&mut state, "fleet", "main");
    let add = |revision: &str, path: &str| Command::Add {
        source: source("fleet"),
        track: track(revision),
        path: path.into(),
    };
    assert_eq!(decide(&state, &add("main", ""), &person(), At(1)), Ok(Vec::new()));
    for other in [add("next", ""), add("main", "deploy")] {
        let refused = decide(&state, &other, &person(), At(1)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "source fleet exists and follows https://git.example.com/fleet.git@main"
        );
    }
    for unknown in [Command::Allow(source("other")), Command::Remove(source("other"))] {
        assert_eq!(decide(&state, &unknown, &person(), At(1)), Err(Rejected::Unknown(source("other"))));
    }
}

#[test]
fn a_repository_that_no_source_follows_is_unknown_again() {
    let mut state = state(&[('a', true), ('b', false)]);
    add(&mut state, "one", "main");
    add(&mut state, "two", "next");
    let remove = |name: &str| event(HubFact::SourceRemoved { source: source(name) });
    evolve(&mut state, 5, &remove("one"));
    assert_eq!(head(&state), Some('a'), "the other source still follows it");
    evolve(&mut state, 6, &remove("two"));
    assert_eq!(state, State::default());
}

#[test]
fn a_trailing_slash_or_git_makes_no_other_repository() {
    let mut state = State::default();
    add(&mut state, "fleet", "main");
    for url in ["https://git.example.com/fleet", "https://git.example.com/fleet.git/"] {
        assert_eq!(state.repository(url), Some(crate::given::URL), "{url}");
    }
    assert_eq!(state.repository("https://git.example.com/fleets"), None);
}

#[test]
fn a_long_subject_is_cut_at_a_character() {
    let mut long = sighting(&track("main"), 'a', true);
    long.subject = "ä".repeat(300);
    let event = sight(&State::default(), &long, At(0)).unwrap();
    let HubFact::CommitSeen { subject, .. } = event.fact else { panic!("not a commit") };
    assert_eq!(subject.chars().count(), 200);
}

#[test]
fn facts_of_other_machines_change_nothing() {
    let mut state = state(&[('a', true)]);
    let before = state.clone();
    let other: HubEvent = event(HubFact::Approved { digest: digest(1), reason: String::new() });
    evolve(&mut state, 9, &other);
    assert_eq!(state, before);
}

proptest! {
    #[test]
    fn seeing_again_what_was_just_seen_is_never_news(
        looks in proptest::collection::vec((proptest::char::range('a', 'e'), any::<bool>()), 1..20)
    ) {
        let mut state = State::default();
        for (index, (letter, descends)) in looks.into_iter().enumerate() {
            look(&mut state, letter, descends, index as u64);
            prop_assert_eq!(look(&mut state, letter, descends, 99), None);
        }
    }
}
