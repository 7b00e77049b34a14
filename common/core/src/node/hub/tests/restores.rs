//! A hub that lives on from a backup: it finds out, only reads, begins an epoch, and takes over what clusters hold.

use super::delivery::at_rest;
use super::world::*;
use crate::cluster::{self, Batch, Chain, Number, Proof};
use crate::desired::{Index, Mark};
use crate::digest::Digest;
use crate::epoch::{Evidence, Grant, GrantKind};
use crate::event::{AgentFact, HubFact};
use crate::node::hub::{
    Append, Command, Durable, Effect, Hub, Input, Newer, Outputs, Rejected, Reply, Settings,
};
use crate::time::{At, Span};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

fn mark(epoch: u64, generation: u64) -> Mark {
    Mark { epoch, generation }
}

fn index(world: &World) -> Index {
    world.hub.state().planner.fleet[&name("west")].index.clone()
}

fn entries(world: &World) -> Vec<String> {
    let entry = |(app, entry): (&crate::id::AppId, &crate::desired::Entry)| {
        let leaves = if entry.withdrawn.is_some() { " leaves" } else { "" };
        alloc::format!("{} {}{leaves}", app.name, entry.commit.as_str().trim_start_matches('0'))
    };
    index(world).entries.iter().map(entry).collect()
}

fn kinds(out: &Outputs) -> Vec<&'static str> {
    facts(out).into_iter().map(|(kind, _)| kind).collect()
}

/// What the agent shows, without events.
fn shows(world: &mut World, proof: Proof) -> Outputs {
    let batch = Batch { incarnation: proof.chain.incarnation, proof: Some(proof), ..Batch::default() };
    world.step(Input::Batched { token: 7, account: account("west"), batch, facts: Vec::new() })
}

fn starts(world: &mut World, file: u64) -> Outputs {
    world.hub = Hub::new(world.replay(), Settings { lease: LEASE });
    world.in_flight.clear();
    world.step(Input::Started { version: "1.0.0".into(), epoch: file })
}

fn grant(epoch: u64) -> Grant {
    Grant { epoch, kind: GrantKind::Restore, signature: vec![7; 64] }
}

/// What was there before the hub's disk was replaced: what the agent holds, and where its events stand.
struct Lost {
    held: Index,
    chain: Chain,
    before: Chain,
}

/// A world whose log ends at a backup: after it came a commit, another app, and events of the agent.
fn restored() -> (World, Lost) {
    let mut world = at_rest();
    world.says("west", Some(says(None, started())));
    let (backup, before) = (world.log.len(), world.chain(&account("west")));
    let seen = world.push("shop", &commit(2)).first;
    let apps = vec![declared("web", "shop", "west"), declared("api", "shop", "west")];
    let out = world.step(Input::Read(reading("shop", &commit(2), apps, seen)));
    let mut due = variants(&out);
    due.extend(world.hub.users.keys().cloned());
    for variant in due {
        world.step(sealed(&variant, &commit(2)));
    }
    world.says("west", Some(says(None, started())));
    world.says("west", None);
    assert_eq!(entries(&world), ["api 2", "web 2"]);
    let lost = Lost { held: index(&world), chain: world.chain(&account("west")), before };
    world.log.truncate(backup);
    starts(&mut world, 1);
    assert_eq!(entries(&world), ["web 1"]);
    (world, lost)
}

fn started() -> AgentFact {
    let (version, kubernetes) = ("1.0.0".into(), "1.35".into());
    AgentFact::Started { version, kubernetes, journal: crate::event::agent::Journal::Found }
}

/// The same after the operator began epoch 2, started again.
fn granted() -> (World, Lost) {
    let (mut world, lost) = restored();
    let out = world.order(Command::RaiseEpoch(grant(2)));
    assert_eq!(kinds(&out), ["EpochRaised"]);
    starts(&mut world, 2);
    (world, lost)
}

fn adoption(lost: &Lost) -> Proof {
    let index = Some(lost.held.clone());
    Proof { pending: mark(2, 2), index, receipt: Some(lost.chain.number()), chain: lost.chain }
}

#[test]
fn a_log_that_is_too_old_makes_the_hub_read_only_for_every_restart() {
    type Find = fn(&mut World, &Lost) -> Outputs;
    let index = |lost: &Lost| Proof { index: Some(lost.held.clone()), ..Proof::default() };
    let receipt = |lost: &Lost| Proof { receipt: Some(lost.chain.number()), ..Proof::default() };
    let ways: [(&str, Find); 2] = [
        ("epoch file", |world, _| starts(world, 2)),
        ("bus", |world, lost| world.step(Input::Witnessed(vec![(account("west"), lost.held.mark)]))),
    ];
    let found = ways.into_iter().map(|(way, find)| {
        let (mut world, lost) = restored();
        (way, find(&mut world, &lost), world)
    });
    let shown = [("index", index as fn(&Lost) -> Proof), ("receipt", receipt as fn(&Lost) -> Proof)].map(
        |(way, proof)| {
            let (mut world, lost) = restored();
            let out = shows(&mut world, proof(&lost));
            assert!(matches!(reply(&out), Reply::Refused { .. }), "{way}: an agent keeps its events");
            (way, out, world)
        },
    );
    for (way, out, mut world) in found.chain(shown) {
        assert_eq!((kinds(&out), asked(&out)), (vec!["LogBehind"], vec![]), "{way}");
        let events = world.log.len();
        for _ in 0..2 {
            let told = world.hub.read_only().map(|why| alloc::string::ToString::to_string(&why)).expect(way);
            let refused = world.cluster(cluster::Command::Remove(name("west")));
            assert_eq!(reply(&refused), &Reply::Rejected(Rejected::ReadOnly { why: told }), "{way}");
            let joins = world.step(Input::Joining { token: 7, request: request("east") });
            assert!(matches!(reply(&joins), Reply::Refused { .. }), "{way}");
            assert!(matches!(reply(&world.says("west", None)), Reply::Refused { .. }), "{way}");
            world.push("shop", &commit(2));
            assert_eq!((world.hub.next_wake(), world.pass(Span::secs(3_600)).len()), (None, 0), "{way}");
            starts(&mut world, 1);
        }
        assert_eq!(world.log.len(), events, "{way}: nothing is recorded");
    }
}

#[test]
fn an_index_that_the_log_knows_is_no_sign_that_the_log_is_too_old() {
    let mut world = at_rest();
    let known = index(&world).mark;
    assert_eq!(kinds(&world.step(Input::Witnessed(vec![(account("west"), known)]))), [""; 0]);
    assert!(world.hub.read_only().is_none());
    assert_eq!(world.hub.unadopted(), 0);
}

#[test]
fn the_restore_key_is_recorded_when_it_is_made_and_never_again() {
    let mut world = World::new();
    assert_eq!(kinds(&world.step(Input::RestoreKey([7; 32]))), ["RestoreKeyMade"]);
    assert_eq!(kinds(&world.step(Input::RestoreKey([8; 32]))), [""; 0]);
    assert_eq!(world.hub.state().epochs.restore_key, Some([7; 32]));
}

#[test]
fn an_event_of_an_unknown_kind_has_its_place_in_the_log_and_changes_nothing() {
    let mut state = Durable::default();
    state.skip(7, At(5));
    assert_eq!(state, Durable { index: 7, appended_at: At(5), ..Durable::default() });
}

#[test]
fn over_a_log_that_a_newer_version_wrote_the_hub_only_reads_and_no_epoch_ends_that() {
    let (mut world, _) = restored();
    let newer = Newer { index: 9, kind: "FromTheFuture".into() };
    world.hub = Hub::new(world.replay(), Settings { lease: LEASE }).before(Some(newer));
    world.in_flight.clear();
    let why = "event 9 is of kind FromTheFuture, which this version does not know and must not skip";
    let rejected = Reply::Rejected(Rejected::TooNew { why: why.into() });
    let events = world.log.len();
    world.step(Input::Started { version: "1.0.0".into(), epoch: 1 });
    assert_eq!(reply(&world.cluster(cluster::Command::Remove(name("west")))), &rejected);
    assert_eq!(reply(&world.order(Command::RaiseEpoch(grant(2)))), &rejected);
    let joins = world.step(Input::Joining { token: 7, request: request("east") });
    assert!(matches!(reply(&joins), Reply::Refused { .. }));
    assert!(matches!(reply(&world.says("west", None)), Reply::Refused { .. }));
    world.push("shop", &commit(2));
    assert_eq!((world.hub.next_wake(), world.log.len()), (None, events), "nothing is recorded");
}

#[test]
fn what_an_agent_says_without_a_proof_only_keeps_its_own_index() {
    let (mut world, lost) = restored();
    let say = |world: &mut World, held| {
        let vitals = cluster::Vitals { held, waiting: 0 };
        let batch = Batch { vitals, incarnation: 1, ..Batch::default() };
        world.step(Input::Batched { token: 7, account: account("west"), batch, facts: Vec::new() })
    };
    let out = say(&mut world, lost.held.mark);
    assert!(matches!(reply(&out), Reply::Receipt { mark: told, .. } if *told < lost.held.mark));
    let seen = world.push("shop", &commit(3)).first;
    world.step(Input::Read(reading("shop", &commit(3), vec![declared("web", "shop", "west")], seen)));
    let variant = world.hub.users.keys().next().unwrap().clone();
    assert_eq!(kinds(&world.step(sealed(&variant, &commit(3)))), ["BundleSealed"], "and no index");
    assert!(world.hub.read_only().is_none(), "anybody could say so");
    let out = say(&mut world, mark(1, 1));
    assert_eq!(kinds(&out), ["IndexRaised"], "it holds what the log knows");
}

#[test]
fn after_a_start_no_index_is_raised_before_its_agent_was_heard() {
    let mut world = at_rest();
    world.restart();
    let seen = world.push("shop", &commit(2)).first;
    let apps = vec![declared("web", "shop", "west")];
    world.step(Input::Read(reading("shop", &commit(2), apps, seen)));
    let variant = world.hub.users.keys().next().unwrap().clone();
    assert_eq!(kinds(&world.step(sealed(&variant, &commit(2)))), ["BundleSealed"]);
    assert_eq!(kinds(&world.heartbeat("west")), ["IndexRaised"]);
}

#[test]
fn an_epoch_begins_above_everything_that_was_found() {
    let (mut world, lost) = restored();
    shows(&mut world, Proof { index: Some(Index { mark: mark(3, 1), ..lost.held }), ..Proof::default() });
    assert!(matches!(
        world.hub.state().epochs.behind.as_ref().unwrap().evidence,
        Evidence::Index { found, .. } if found == mark(3, 1)
    ));
    let out = world.order(Command::RaiseEpoch(grant(3)));
    assert!(matches!(reply(&out), Reply::Rejected(Rejected::Epoch(_))));
    let out = world.order(Command::RaiseEpoch(grant(4)));
    assert!(matches!(reply(&out), Reply::Done { changed: true, .. }));
    assert_eq!((world.hub.read_only(), world.hub.unadopted()), (None, 1));
    let out = starts(&mut world, 4);
    assert_eq!(own(&out), [&HubFact::Started { version: "1.0.0".into(), epoch: 4 }]);
}

#[test]
fn a_cluster_is_adopted_by_what_it_shows_and_the_lost_events_are_named() {
    let (mut world, lost) = granted();
    let published = world.hub.state().planner.fleet[&name("west")].index.mark;
    assert_eq!(published, mark(2, 2), "in the new epoch, with what the log knows");
    // Events after the lost ones cannot be taken yet.
    let account = account("west");
    let next = link(lost.chain.seq + 1, lost.chain.hash);
    let batch = Batch { incarnation: 1, links: vec![next], ..Batch::default() };
    let send = |batch: Batch| Input::Batched { token: 7, account: account.clone(), batch, facts: vec![None] };
    assert!(matches!(reply(&world.step(send(batch.clone()))), Reply::Gap { .. }));
    assert_eq!(entries(&world), ["web 1"]);

    let out = shows(&mut world, adoption(&lost));
    let raised = world.hub.state().epochs.raised;
    assert_eq!(facts(&out), [("EventsLost", Some(raised)), ("ClusterAdopted", Some(raised))]);
    let number = |chain: Chain, more: u64| Number { incarnation: 1, seq: chain.seq + more };
    let missing = HubFact::EventsLost { first: number(lost.before, 1), last: number(lost.chain, 0) };
    assert_eq!(own(&out)[0], &missing);
    assert!(matches!(reply(&out), Reply::Receipt { chain, .. } if *chain == lost.chain));
    assert_eq!(entries(&world), ["api 2", "web 2"], "what it holds, and an app that the log did not know");
    let out = world.step(Input::Published { cluster: name("west"), mark: published });
    let publish = out.effects.into_iter().find_map(|effect| match effect {
        Effect::Publish { index, grant, adopted, .. } => Some((index.mark, grant, adopted)),
        _ => None,
    });
    assert_eq!(publish, Some((mark(2, 3), Some(grant(2)), true)), "told to be adopted");
    let out = world.step(send(batch));
    assert!(matches!(out.appends.as_slice(), [Append::Foreign(_)]), "the chain goes on");
    assert_eq!(world.replay(), *world.hub.state());
    assert_eq!(kinds(&shows(&mut world, adoption(&lost))), [""; 0], "once");
}

#[test]
fn what_was_adopted_is_published_at_once() {
    let (mut world, lost) = granted();
    let mark = index(&world).mark;
    assert_eq!(asked(&world.step(Input::Published { cluster: name("west"), mark })), [""; 0]);
    assert_eq!(asked(&shows(&mut world, adoption(&lost))), ["Publish"]);
}

#[test]
fn a_restored_hub_changes_nothing_before_it_has_looked_at_git_again() {
    let (mut world, lost) = granted();
    shows(&mut world, adoption(&lost));
    // The log still stands at commit 1, reads and renders it, and declares one app.
    let seen = world.hub.state().sources.head(&track("shop")).unwrap().index;
    let web = || vec![declared("web", "shop", "west")];
    world.step(Input::Read(reading("shop", &commit(1), web(), seen)));
    let variant = world.hub.users.keys().next().unwrap().clone();
    world.step(sealed(&variant, &commit(1)));
    assert_eq!(entries(&world), ["api 2", "web 2"], "neither rolled back nor withdrawn");
    assert!(world.hub.refused(&name("west")).unwrap().contains_key(&app("shop/web")), "and said so");

    // The look finds what was delivered before.
    let seen = world.push("shop", &commit(2)).first;
    assert_eq!(entries(&world), ["api 2", "web 2"]);
    let both = vec![declared("web", "shop", "west"), declared("api", "shop", "west")];
    let out = world.step(Input::Read(reading("shop", &commit(2), both, seen)));
    assert_eq!(entries(&world), ["api 2", "web 2"], "what was rendered is of the commit before");
    let mut due: Vec<_> = variants(&out);
    due.push(variant);
    for variant in due {
        world.step(sealed(&variant, &commit(2)));
    }
    assert_eq!(entries(&world), ["api 2", "web 2"]);
    assert!(
        index(&world).entries.values().all(|entry| entry.since.epoch == 2),
        "with keys of this hub again"
    );
    assert!(world.hub.refused(&name("west")).unwrap().is_empty());

    // From here on it is a hub like any other.
    let seen = world.push("shop", &commit(3)).first;
    world.step(Input::Read(reading("shop", &commit(3), web(), seen)));
    let variant = world.hub.users.keys().find(|variant| variant.path == "web").unwrap().clone();
    world.step(sealed(&variant, &commit(3)));
    assert_eq!(entries(&world), ["api 2 leaves", "web 3"]);

    // After a restart too: what this epoch saw is not looked at again first.
    world.restart();
    world.heartbeat("west");
    world.step(Input::Read(reading("shop", &commit(3), web(), seen)));
    world.step(sealed(&variant, &commit(3)));
    assert!(world.hub.refused(&name("west")).unwrap().is_empty());
}

#[test]
fn an_app_of_a_source_that_the_backup_does_not_know_stays() {
    let (mut world, lost) = granted();
    let mut proof = adoption(&lost);
    let held = proof.index.as_mut().unwrap();
    let web = held.entries[&app("shop/web")].clone();
    held.entries.insert(app("tools/db"), web);
    shows(&mut world, proof);
    world.pass(Span::secs(60));
    assert_eq!(entries(&world), ["api 2", "web 2", "db 2"]);
    assert!(world.hub.refused(&name("west")).unwrap().contains_key(&app("tools/db")), "and it is said");
}

#[test]
fn what_git_says_already_is_confirmed_by_a_look_that_finds_nothing_new() {
    let (mut world, mut lost) = granted();
    // Away since before the backup: the log and Git are ahead of it.
    lost.held = Index { mark: mark(1, 1), ..Index::default() };
    lost.chain = lost.before;
    let out = shows(&mut world, adoption(&lost));
    assert_eq!(kinds(&out), ["ClusterAdopted"], "nothing was lost");
    let seen = world.hub.state().sources.head(&track("shop")).unwrap().index;
    world.step(Input::Read(reading("shop", &commit(1), vec![declared("web", "shop", "west")], seen)));
    let variant = world.hub.users.keys().next().unwrap().clone();
    world.step(sealed(&variant, &commit(1)));
    assert_eq!(entries(&world), [""; 0]);
    assert!(world.hub.wants_look(&track("shop")));
    let out = world.push("shop", &commit(1));
    assert!(!world.hub.wants_look(&track("shop")));
    assert_eq!((kinds(&out), entries(&world)), (vec!["IndexRaised"], vec![String::from("web 1")]));
}

#[test]
fn an_agent_that_lost_its_journal_is_adopted_without_an_index() {
    let (mut world, lost) = granted();
    let chain = Chain { incarnation: 2, seq: 0, hash: Digest::default() };
    let proof = Proof { pending: mark(2, 2), chain, ..Proof::default() };
    let out = shows(&mut world, proof);
    assert_eq!(kinds(&out), ["ClusterAdopted"], "of its new incarnation nothing is lost");
    assert_eq!(entries(&world), ["web 1"]);
    let _ = lost;
}
