//! Random histories: the log alone makes the state, nothing owed is forgotten, and in the end nothing is owed.

use super::model::*;
use crate::catalog::{Destination, Root};
use crate::cluster;
use crate::event::AgentFact;
use crate::event::agent::Phase;
use crate::given::{
    account, app, batch, cluster as named, declared, listing, selector, sighting, source, track,
};
use crate::node::hub::{Command, Input};
use crate::source as sources;
use crate::time::Span;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const CLUSTERS: [&str; 3] = ["prod", "next", "live"];
const APPS: [&str; 3] = ["fleet/web", "fleet/api", "fleet/all"];

#[derive(Clone, Debug)]
enum Move {
    Add,
    Remove,
    Allow,
    Push { letter: u8, apps: u8, render: u8, descends: bool },
    Invite(usize, u8),
    Join(u8, u8),
    Rename(usize, usize),
    Leave(usize, bool),
    Sync(usize),
    Approve(usize, usize),
    Report(u8, usize, bool),
    Withdrawn(u8, usize),
    Events(u8, u64, u64, u64),
    Perform(usize, bool),
    Pass(u64),
    Refill,
    Restart,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        2 => Just(Move::Add),
        1 => Just(Move::Remove),
        1 => Just(Move::Allow),
        4 => (0..5u8, any::<u8>(), 0..4u8, prop::bool::weighted(0.8)).prop_map(
            |(letter, apps, render, descends)| Move::Push { letter, apps, render, descends }
        ),
        3 => (0..3usize, 1..5u8).prop_map(|(which, token)| Move::Invite(which, token)),
        4 => (1..5u8, 0..4u8).prop_map(|(token, letter)| Move::Join(token, letter)),
        1 => (0..3usize, 0..3usize).prop_map(|(from, to)| Move::Rename(from, to)),
        1 => (0..3usize, any::<bool>()).prop_map(|(which, cascade)| Move::Leave(which, cascade)),
        1 => (0..3usize).prop_map(Move::Sync),
        1 => (0..3usize, 0..3usize).prop_map(|(app, cluster)| Move::Approve(app, cluster)),
        2 => (0..4u8, 0..3usize, any::<bool>()).prop_map(|(of, app, parked)| Move::Report(of, app, parked)),
        2 => (0..4u8, 0..3usize).prop_map(|(of, app)| Move::Withdrawn(of, app)),
        3 => (0..4u8, 1..3u64, 1..5u64, 0..4u64).prop_map(|(of, inc, from, n)| Move::Events(of, inc, from, n)),
        14 => (0..8usize, prop::bool::weighted(0.15)).prop_map(|(place, fails)| Move::Perform(place, fails)),
        3 => (0..40_000u64).prop_map(Move::Pass),
        1 => Just(Move::Refill),
        1 => Just(Move::Restart),
    ]
}

fn letter(number: u8) -> char {
    ['B', 'C', 'D', 'E'][usize::from(number % 4)]
}

fn grown(apps: u8, render: u8) -> Tree {
    let mut tree = tree(&[]);
    for (at, name) in CLUSTERS.iter().enumerate() {
        let mine = ["web", "api"].iter().enumerate().filter(|(bit, _)| apps & (1 << (at * 2 + bit)) != 0);
        let mine: Vec<_> = mine.map(|(_, app)| declared(app, Destination::Here)).collect();
        if !mine.is_empty() {
            tree.roots.insert(Root::Cluster(named(name)), listing(mine));
        }
    }
    if apps & 64 != 0 {
        let chosen =
            declared("all", Destination::Selector(selector("env", CLUSTERS[usize::from(render % 3)])));
        tree.roots.insert(Root::Directory, listing(Vec::from([chosen])));
    }
    tree.renders.insert("apps/web".into(), render);
    tree
}

fn make(sim: &mut Sim, made: &Move) {
    match *made {
        Move::Add => drop(sim.add_source("fleet")),
        Move::Remove => {
            sim.order(Command::Source(sources::Command::Remove(source("fleet"))));
            sim.paid.read.clear();
        }
        Move::Allow => drop(sim.order(Command::Source(sources::Command::Allow(source("fleet"))))),
        Move::Push { letter, apps, render, descends } => {
            let letter = char::from(b'a' + letter);
            sim.trees.entry(crate::given::commit(letter)).or_insert_with(|| grown(apps, render));
            let track = track("main");
            // Nobody looks at what nobody follows.
            if sim.hub.state().sources.sources.values().any(|source| source.track == track) {
                sim.step(Input::Sighted(sighting(&track, letter, descends)));
            }
        }
        Move::Invite(which, token) => drop(sim.invite(CLUSTERS[which], token)),
        Move::Join(token, of) => {
            if !sim.hub.state().clusters.revoked.contains_key(&account(letter(of)))
                && !sim.hub.state().clusters.accounts.contains_key(&account(letter(of)))
            {
                sim.join(token, letter(of));
            }
        }
        Move::Rename(from, to) => {
            let (from, to) = (named(CLUSTERS[from]), named(CLUSTERS[to]));
            sim.order(Command::Cluster(cluster::Command::Rename { from, to, root_in_git: false }));
        }
        Move::Leave(which, cascade) => {
            let name = named(CLUSTERS[which]);
            let order = if cascade { cluster::Command::Empty(name) } else { cluster::Command::Remove(name) };
            sim.order(Command::Cluster(order));
        }
        Move::Sync(which) => {
            let (app, clusters, reason) = (app(APPS[which]), Vec::new(), String::new());
            sim.order(Command::Sync { app, clusters, reason });
        }
        Move::Approve(which, on) => {
            let (app, cluster, reason) = (app(APPS[which]), named(CLUSTERS[on]), String::new());
            sim.order(Command::Approve { app, cluster, bundle: None, reason });
        }
        Move::Report(of, which, parked) => {
            let known = sim.hub.state().clusters.accounts.get(&account(letter(of)));
            let desired = known.and_then(|name| sim.hub.state().planner.fleet.get(name));
            if desired.is_some_and(|desired| desired.index.entries.contains_key(&app(APPS[which]))) {
                let phase = if parked { Phase::Parked } else { Phase::Synced };
                sim.report(letter(of), &app(APPS[which]), phase);
            }
        }
        Move::Withdrawn(of, which) => {
            if sim.hub.state().clusters.accounts.contains_key(&account(letter(of))) {
                let fact = AgentFact::Withdrawn { since: None, deleted: 1, kept: 0 };
                sim.say(letter(of), &app(APPS[which]), fact);
            }
        }
        Move::Events(of, incarnation, from, count) => {
            let facts = (0..count).map(|_| None).collect();
            sim.send(letter(of), batch(incarnation, from..from + count), facts);
        }
        Move::Perform(place, fails) => {
            if !sim.pending.is_empty() {
                sim.failing = fails;
                sim.perform(place % sim.pending.len());
                sim.failing = false;
            }
        }
        Move::Pass(millis) => {
            sim.now = sim.now.plus(Span(millis));
            sim.step(Input::Wake);
        }
        Move::Refill => {
            sim.step(Input::Refill);
        }
        Move::Restart => sim.restart(),
    }
}

proptest! {
    /// `Sim::step` checks after every input that the log alone makes the state and that nothing goes back.
    #[test]
    fn nothing_owed_is_forgotten_and_in_the_end_nothing_is_owed(
        moves in proptest::collection::vec(moves(), 1..150)
    ) {
        let mut sim = Sim::new();
        for made in &moves {
            make(&mut sim, made);
            sim.check_debts();
            for name in APPS {
                sim.check_placed(&app(name));
            }
        }
        sim.pass(Span::secs(200));
        prop_assert!(sim.hub.is_idle(), "{:?}", sim.hub.debts());
        prop_assert_eq!(crate::invariant::owed(sim.hub.state(), &sim.paid), BTreeSet::default());
        // Planning again, and starting again, changes nothing.
        let before = sim.hub.state().planner.fleet.clone();
        sim.restart();
        sim.pass(Span::secs(20));
        prop_assert_eq!(&sim.hub.state().planner.fleet, &before);
        let used: Vec<&str> = sim.followed.iter().map(|track| track.revision.as_str()).collect();
        prop_assert!(used.len() <= 1);
    }
}
