//! What is owed and what is not: new reasons, restarts, idle fleets.

use super::model::*;
use crate::given::{account, app, cluster as named, commit};
use crate::node::hub::{Command, Input};
use crate::time::{At, Span};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

#[test]
fn what_failed_is_asked_for_again_after_pauses_that_grow_to_a_minute() {
    let mut sim = Sim::new();
    sim.add_source("fleet");
    sim.run();
    sim.push('a', tree(&[("prod", &["web"])]));
    sim.failing = true;
    let mut pauses = Vec::new();
    for _ in 0..10 {
        sim.perform(0);
        assert_eq!(sim.asked(), [""; 0]);
        let due = sim.hub.next_wake().unwrap();
        pauses.push(due.since(sim.now).0);
        sim.now = At(due.0 - 1);
        sim.step(Input::Wake);
        assert_eq!(sim.asked(), [""; 0], "not before it is due");
        sim.now = due;
        sim.step(Input::Wake);
        assert_eq!(sim.asked(), ["read fleet"]);
    }
    assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    sim.failing = false;
    sim.run();
    sim.push('b', tree(&[("prod", &["web"])]));
    sim.failing = true;
    sim.perform(0);
    assert_eq!(sim.hub.next_wake().unwrap().since(sim.now), Span(500), "the next failure begins anew");
}

#[test]
fn a_new_commit_does_not_wait_for_what_failed_before() {
    let mut sim = Sim::new();
    sim.add_source("fleet");
    sim.run();
    sim.push('a', tree(&[("prod", &["web"])]));
    sim.failing = true;
    for _ in 0..8 {
        sim.perform(0);
        sim.now = sim.hub.next_wake().unwrap();
        sim.step(Input::Wake);
    }
    sim.perform(0);
    sim.push('b', tree(&[("prod", &["web"])]));
    assert_eq!(sim.asked(), ["read fleet"]);
}

#[test]
fn after_a_restart_everything_is_owed_again_and_paying_it_changes_nothing() {
    let mut sim = delivered();
    assert!(sim.hub.is_idle() && sim.hub.debts().is_empty());
    let before = sim.hub.state().clone();
    sim.restart();
    let asked = sim.asked();
    let wanted = ["follow 1", "account true", "publish prod 1.1", "read fleet", "render apps/web aaaaaaaaaa"];
    assert_eq!(asked, wanted);
    sim.check_debts();
    sim.run();
    assert!(sim.hub.is_idle());
    sim.check_debts();
    let mut after = sim.hub.state().clone();
    (after.index, after.appended_at) = (before.index, before.appended_at);
    assert_eq!(after, before, "but for the fact that it started");
}

#[test]
fn nothing_is_published_that_was_never_raised() {
    let mut sim = Sim::new();
    sim.add_source("fleet");
    sim.invite("prod", 1);
    sim.join(1, 'B');
    sim.push('a', tree(&[("prod", &["web"])]));
    sim.perform(0);
    sim.perform(0);
    let sync = Command::Sync { app: app("fleet/web"), clusters: Vec::new(), reason: String::new() };
    sim.failing = true;
    sim.order(sync);
    sim.run();
    sim.step(Input::Refill);
    let publishes = sim.asked().into_iter().filter(|asked| asked.starts_with("publish")).count();
    assert_eq!(publishes, 0);
}

#[test]
fn only_revisions_that_somebody_uses_are_followed() {
    let mut sim = delivered();
    assert_eq!(sim.followed.len(), 1);
    let mut other = tree(&[("prod", &["web"])]);
    for listing in other.roots.values_mut() {
        listing.apps[0].target_revision = "v1".into();
    }
    sim.push('b', other);
    sim.run();
    let revisions: Vec<&str> = sim.followed.iter().map(|track| track.revision.as_str()).collect();
    assert_eq!(revisions, ["main", "v1"]);
    sim.push('c', tree(&[("prod", &["web"])]));
    sim.run();
    assert_eq!(sim.followed.len(), 1);
}

#[test]
fn heartbeats_of_an_idle_fleet_ask_for_nothing() {
    let mut sim = delivered();
    for _ in 0..100 {
        sim.now = sim.now.plus(Span::secs(1));
        sim.heartbeat('B', 1);
    }
    assert_eq!((sim.asked(), sim.hub.is_idle()), (Vec::new(), true));
}

#[test]
fn an_account_that_was_removed_is_taken_back_again_after_a_restart() {
    let mut sim = delivered();
    sim.order(Command::Cluster(crate::cluster::Command::Remove(named("prod"))));
    sim.run();
    assert_eq!(sim.paid.accounts[&account('B')], None);
    sim.restart();
    assert!(sim.asked().contains(&"account false".to_string()));
}

#[test]
fn an_older_mark_that_is_said_to_be_published_does_not_settle_the_newer() {
    let mut sim = delivered();
    let mark = crate::desired::Mark { epoch: 1, generation: 0 };
    sim.step(Input::Published { cluster: named("prod"), mark });
    assert_eq!(sim.asked(), ["publish prod 1.1"]);
    assert_eq!(sim.hub.state().sources.head(&crate::given::track("main")).unwrap().commit, commit('a'));
}
