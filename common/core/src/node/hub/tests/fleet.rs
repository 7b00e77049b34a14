//! Clusters: joining, silence, forged events and leaving.

use super::delivery::{at_rest, delivered};
use super::world::*;
use crate::cluster::{self, Batch, TokenRefused, Vitals};
use crate::desired::{Mark, Withdrawal};
use crate::digest::Digest;
use crate::event::{AgentFact, HubFact};
use crate::node::hub::{Effect, Input, Reply};
use crate::time::{At, Span};
use alloc::vec;
use alloc::vec::Vec;

#[test]
fn a_token_is_exchanged_once_and_the_same_agent_is_answered_again() {
    let mut world = World::new();
    world.cluster(invite("west"));
    let join = |request| Input::Joining { token: 7, request };
    let joined = Reply::Joined { cluster: name("west"), account: account("west") };
    let refused = |reason| Reply::JoinRefused(reason);
    let other = |cluster: &str| cluster::JoinRequest { account: account("other"), ..request(cluster) };
    let keys = || cluster::JoinRequest { event_key: [9; 32], ..request("west") };
    let hour = 3_600_000;
    let cases = [
        (0, request("east"), vec!["JoinRefused"], refused(TokenRefused::Foreign)),
        (1, request("west"), vec!["ClusterJoined"], joined.clone()),
        (2, request("west"), vec![], joined.clone()),
        (3, other("west"), vec![], joined),
        (4, keys(), vec!["JoinRefused"], refused(TokenRefused::Used)),
        (hour, request("west"), vec!["JoinRefused"], refused(TokenRefused::Used)),
    ];
    for (after, request, kinds, answer) in cases {
        world.now = DAWN.plus(Span(after));
        let out = world.step(join(request));
        let found: Vec<_> = facts(&out).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!((found, reply(&out)), (kinds.clone(), &answer), "after {after} ms");
        let told = if kinds == ["ClusterJoined"] { vec!["SetAccount"] } else { vec![] };
        assert_eq!(asked(&out), told, "after {after} ms");
    }
    world.now = DAWN;
    world.cluster(invite("east"));
    world.now = DAWN.plus(Span(hour));
    assert_eq!(reply(&world.step(join(request("east")))), &refused(TokenRefused::Expired));
}

#[test]
fn silence_is_recorded_after_the_lease_and_ends_with_the_next_sign_of_life() {
    let mut world = at_rest();
    world.pass(Span::secs(20));
    let heard = world.now;
    assert_eq!(facts(&world.heartbeat("west")), []);
    let outs = world.pass(Span(LEASE.0 - 1));
    assert!(outs.iter().all(|out| out.appends.is_empty()), "the heartbeat counts");
    let outs = world.pass(Span(1));
    let silent: Vec<_> = outs.iter().flat_map(own).collect();
    assert_eq!(silent, [&HubFact::ClusterSilent { heard_at: heard }]);
    let outs = world.pass(Span::secs(600));
    assert!(outs.iter().all(|out| out.appends.is_empty()), "once");
    let out = world.heartbeat("west");
    assert_eq!(own(&out), [&HubFact::ClusterBack { silent_ms: LEASE.0 + 600_000 }]);
    assert_eq!(own(&world.heartbeat("west")), [] as [&HubFact; 0]);
    let outs = world.pass(LEASE);
    assert_eq!(outs.iter().flat_map(own).count(), 1, "and silent again");
}

#[test]
fn a_start_gives_every_cluster_a_lease_of_grace() {
    let mut world = at_rest();
    world.now = world.now.plus(Span::secs(86_400));
    let started = world.now;
    world.restart();
    let outs = world.pass(Span(LEASE.0 - 1));
    assert!(outs.iter().all(|out| out.appends.is_empty()));
    let outs = world.pass(Span(1));
    assert_eq!(
        outs.iter().flat_map(own).collect::<Vec<_>>(),
        [&HubFact::ClusterSilent { heard_at: started }]
    );
    world.restart();
    let outs = world.pass(Span(LEASE.0 * 3));
    assert!(outs.iter().all(|out| out.appends.is_empty()), "who is silent is not called silent again");
    assert!(matches!(own(&world.heartbeat("west"))[..], [HubFact::ClusterBack { .. }]));
}

#[test]
fn a_forgery_is_recorded_once_in_ten_seconds_and_always_answered() {
    let mut world = World::new();
    world.enrol("west");
    world.enrol("east");
    let forged = |of: &str| {
        let (account, reason) = (account(of), "no signature".into());
        Input::Forged { token: 7, account, reason, incarnation: 1, seq: 4 }
    };
    let cases = [(0, "west", 1), (1, "west", 0), (9_999, "west", 0), (9_999, "east", 1), (10_000, "west", 1)];
    for (after, of, recorded) in cases {
        world.now = DAWN.plus(Span(after));
        let out = world.step(forged(of));
        assert_eq!(reply(&out), &Reply::Refused { reason: "no signature".into() });
        assert_eq!(out.appends.len(), recorded, "{of} after {after} ms");
    }
    let shown = |of: &str, after: u64| world.hub.refused_events(&account(of), DAWN.plus(Span(after)));
    let shown_for = Span::secs(120).0;
    assert_eq!(shown("west", 10_000 + shown_for - 1), Some("no signature"), "since the last one");
    assert_eq!(shown("west", 10_000 + shown_for), None);
    assert_eq!(shown("south", 10_000), None);
}

#[test]
fn events_are_taken_in_order_each_once() {
    let mut world = World::new();
    world.enrol("west");
    let one = link(1, Digest::default());
    let two = link(2, one.hash);
    let twin = cluster::Link { hash: digest("twin"), ..two.clone() };
    let orphan = link(3, digest("other"));
    let batch = |links: &[&cluster::Link]| {
        let links: Vec<_> = links.iter().map(|link| (*link).clone()).collect();
        let facts = vec![None; links.len()];
        let batch = Batch { incarnation: 1, links, ..Batch::default() };
        Input::Batched { token: 7, account: account("west"), batch, facts }
    };
    let cases: [(&str, Vec<&cluster::Link>, usize, Option<u64>); 7] = [
        ("a gap", vec![&two], 0, Some(0)),
        ("the first", vec![&one], 1, Some(1)),
        ("a repeat and the next", vec![&one, &two], 1, Some(2)),
        ("a repeat", vec![&one, &two], 0, Some(2)),
        ("another event of this number", vec![&twin], 1, None),
        ("another chain", vec![&orphan], 0, None),
        ("a sign of life", vec![], 0, Some(2)),
    ];
    for (what, links, appended, stands) in cases {
        let out = world.step(batch(&links));
        assert_eq!(out.appends.len(), appended, "{what}");
        let found = match reply(&out) {
            Reply::Receipt { chain, .. } | Reply::Gap { chain } => Some(chain.seq),
            Reply::Forked { .. } => None,
            other => panic!("{what}: {other:?}"),
        };
        assert_eq!(found, stands, "{what}");
    }
}

#[test]
fn what_waits_at_an_agent_is_less_what_was_just_taken() {
    let mut world = World::new();
    world.enrol("west");
    let first = link(1, Digest::default());
    let links = vec![first.clone(), link(2, first.hash)];
    let vitals = Vitals { waiting: 5, ..Vitals::default() };
    let batch = Batch { vitals, incarnation: 1, links, ..Batch::default() };
    for (waits, why) in [(3, "two were taken"), (5, "both were there already")] {
        let (account, batch) = (account("west"), batch.clone());
        world.step(Input::Batched { token: 7, account, batch, facts: vec![None, None] });
        assert_eq!(world.hub.vitals(&name("west")).unwrap().waiting, waits, "{why}");
    }
}

#[test]
fn a_cluster_that_is_emptied_leaves_when_its_agent_has_confirmed() {
    let mut world = delivered();
    let out = world.cluster(cluster::Command::Empty(name("west")));
    assert_eq!(facts(&out), [("ClusterLeaving", None), ("IndexRaised", Some(out.first))]);
    let HubFact::IndexRaised { changes, .. } = own(&out)[1] else { panic!() };
    assert_eq!(changes[0].entry.as_ref().unwrap().withdrawn, Some(Withdrawal::Cascade));

    let withdrawn = AgentFact::Withdrawn { since: None, deleted: 1, kept: 0 };
    let about = |of: &str| Some(says(Some(&app(of)), withdrawn.clone()));
    assert_eq!(facts(&world.says("west", about("shop/other"))), [("Foreign", None)]);
    let out = world.says("west", about("shop/web"));
    assert_eq!(facts(&out), [("Foreign", None), ("IndexRaised", Some(out.first))]);
    assert!(matches!(reply(&out), Reply::Receipt { chain, .. } if chain.seq == 2));

    let held = world.hub.state().planner.fleet[&name("west")].index.mark;
    let not_yet = [
        ("the receipt may be on its way", Vitals { held, waiting: 1 }),
        ("it acts by an older index", Vitals { held: Mark::default(), waiting: 0 }),
    ];
    for (why, vitals) in not_yet {
        assert_eq!(facts(&world.sign_of_life("west", vitals)), [], "{why}");
    }
    let out = world.says("west", None);
    assert_eq!(facts(&out), [("Foreign", None)], "it has no receipt for this one");
    let out = world.heartbeat("west");
    assert_eq!(facts(&out), [("ClusterRemoved", None)]);
    assert!(matches!(reply(&out), Reply::Receipt { chain, .. } if chain.seq == 3));
    let [Effect::SetAccount { account: of, user_key: None }, ..] = out.effects.as_slice() else {
        panic!("{:?}", out.effects)
    };
    assert_eq!(of, &account("west"));
    let state = world.hub.state();
    assert!(state.clusters.clusters.is_empty() && state.planner.fleet.is_empty());
    let removed = Reply::Refused { reason: "the cluster was removed from the fleet".into() };
    assert_eq!(reply(&world.heartbeat("west")), &removed);
}

#[test]
fn a_cluster_with_nothing_on_it_leaves_with_its_next_sign_of_life() {
    let mut world = World::new();
    world.enrol("west");
    let out = world.cluster(cluster::Command::Empty(name("west")));
    assert_eq!(facts(&out), [("ClusterLeaving", None)]);
    assert_eq!(facts(&world.heartbeat("west")), [("ClusterRemoved", None)]);
}

#[test]
fn time_never_goes_back() {
    let mut world = World::new();
    world.now = At(5);
    assert_eq!(world.add("shop").appended_at, DAWN);
}
