//! Guards, pruning, withdrawing.

use super::model::*;
use crate::catalog::MaxDeletes;
use crate::desired::Withdrawal;
use crate::event::AgentFact;
use crate::event::agent::Phase;
use crate::health::Health;
use crate::node::agent::Input;
use crate::sync::{Effect, Step};
use crate::time::Span;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

fn maps(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("ConfigMap/c{n}")).collect()
}

fn bundle(names: &[String]) -> Vec<crate::sync::Object> {
    names.iter().map(|name| object(name, "1")).collect()
}

#[test]
fn what_left_the_bundle_is_deleted_after_the_new_state_is_healthy() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap/old", "ConfigMap", "Deployment"], "1"));
    sim.said();
    sim.world.health.insert(key("Deployment"), (Health::Progressing, None));
    sim.deliver("web", 'b', objects(&["ConfigMap", "Deployment"], "2"));
    assert_eq!((sim.step_of("web"), sim.phase("web")), (Some(Step::Settling), Phase::Syncing));
    assert_eq!(sim.message("web"), "1 workloads are not healthy yet; then 1 objects are deleted");
    assert!(sim.has("ConfigMap/old"));
    sim.pass(Span::secs(900));
    assert!(sim.has("ConfigMap/old"), "never before it is healthy");
    sim.world.health.clear();
    sim.world.touch("Deployment");
    sim.pass(Span::secs(5));
    assert_eq!(sim.world.deletes, [key("ConfigMap/old")]);
    assert_eq!(sim.phase("web"), Phase::Synced);
    assert!(sim.said().contains(&"Pruned".to_string()));
    assert_eq!(sim.world.inventory[&app("web")].len(), 2, "the inventory in the cluster forgets it");
}

#[test]
fn guards_park_what_would_delete_too_much() {
    let cases: [(&str, usize, usize, MaxDeletes, bool, bool); 9] = [
        ("empty", 3, 0, MaxDeletes::Percent(100), false, true),
        ("empty, allowed", 3, 0, MaxDeletes::Percent(20), true, false),
        ("two of ten", 10, 8, MaxDeletes::Percent(20), false, false),
        ("three of ten", 10, 7, MaxDeletes::Percent(20), false, true),
        ("two of three: below the floor", 3, 1, MaxDeletes::Percent(20), false, false),
        ("half, allowed", 10, 5, MaxDeletes::Percent(50), false, false),
        ("one, none allowed", 10, 9, MaxDeletes::Count(0), false, true),
        ("as many as counted", 10, 5, MaxDeletes::Count(5), false, false),
        ("one more than counted", 10, 4, MaxDeletes::Count(5), false, true),
    ];
    for (name, before, after, max_deletes, allow_empty, parks) in cases {
        let mut sim = Sim::new();
        sim.deliver("web", 'a', bundle(&maps(before)));
        sim.applied();
        let policy = &mut sim.entry("web", 'b', bundle(&maps(after))).policy;
        (policy.max_deletes, policy.allow_empty) = (max_deletes, allow_empty);
        sim.send();
        sim.pass(Span::secs(10));
        assert_eq!(sim.phase("web") == Phase::Parked, parks, "{name}");
        assert_eq!(sim.world.deletes.len(), if parks { 0 } else { before - after }, "{name}");
        assert_eq!(sim.applied(), [""; 0], "{name}");
    }
}

#[test]
fn an_approval_of_this_bundle_lets_a_parked_app_go_on_and_of_another_does_not() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', bundle(&maps(10)));
    sim.deliver("web", 'b', bundle(&maps(1)));
    assert_eq!(sim.message("web"), "9 of 10 objects would be deleted, more than 20 %");
    sim.change("web", |entry| entry.approved = Some(digest("another")));
    sim.pass(Span::secs(10));
    assert_eq!((sim.phase("web"), sim.world.objects.len()), (Phase::Parked, 10));
    sim.change("web", |entry| entry.approved = Some(entry.digest));
    sim.pass(Span::secs(10));
    assert_eq!((sim.phase("web"), sim.world.objects.len()), (Phase::Synced, 1));
}

#[test]
fn a_parked_app_comes_back_by_itself_when_git_is_mended_and_says_nothing_new_at_a_restart() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', bundle(&maps(10)));
    sim.deliver("web", 'b', bundle(&maps(1)));
    sim.said();
    sim.restart();
    sim.pass(Span::secs(10));
    assert_eq!((sim.said(), sim.phase("web")), (Vec::from(["AgentStarted".to_string()]), Phase::Parked));
    sim.deliver("web", 'c', bundle(&maps(10)));
    assert_eq!((sim.phase("web"), sim.world.deletes.len()), (Phase::Synced, 0));
}

#[test]
fn protected_kinds_wait_for_an_approval_and_are_named() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["Namespace/web", "PersistentVolumeClaim", "ConfigMap", "Secret"], "1"));
    sim.deliver("web", 'b', objects(&["ConfigMap", "Secret"], "1"));
    assert_eq!((sim.phase("web"), sim.world.deletes.len()), (Phase::Parked, 0));
    let status = sim.agent.instance(&app("web")).unwrap().status();
    assert_eq!(status.held.len(), 2);
    assert_eq!(status.message, "2 objects wait for an approval to be deleted");
    sim.change("web", |entry| entry.approved = Some(entry.digest));
    sim.pass(Span::secs(10));
    assert_eq!((sim.phase("web"), sim.world.deletes.len()), (Phase::Synced, 2));
}

#[test]
fn objects_that_say_so_and_apps_without_prune_keep_what_left_them() {
    let mut sim = Sim::new();
    let mut first = objects(&["ConfigMap", "Secret"], "1");
    first[1].keep = true;
    sim.deliver("web", 'a', first);
    sim.deliver("web", 'b', objects(&["ConfigMap"], "1"));
    assert_eq!((sim.phase("web"), sim.has("Secret")), (Phase::OutOfSync, true));
    assert_eq!(sim.message("web"), "1 objects left the bundle and are kept");

    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap", "Secret"], "1"));
    sim.entry("web", 'b', objects(&["ConfigMap"], "1")).policy.prune = false;
    sim.send();
    sim.pass(Span::secs(10));
    assert_eq!((sim.phase("web"), sim.has("Secret")), (Phase::OutOfSync, true));
}

#[test]
fn a_deletion_that_fails_is_tried_again_and_named_and_one_with_finalizers_is_waited_for() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap", "Secret", "Service"], "1"));
    sim.world.failing.insert(("delete", key("Secret")));
    sim.world.objects.get_mut(&key("Service")).unwrap().finalizer = true;
    sim.deliver("web", 'b', objects(&["ConfigMap"], "1"));
    assert_eq!(sim.phase("web"), Phase::Failed);
    sim.said();
    sim.pass(Span::secs(600));
    assert_eq!(sim.said(), [""; 0], "trying again is not news");
    sim.world.failing.clear();
    sim.pass(Span::secs(180));
    assert!(!sim.has("Secret") && sim.has("Service"));
    assert_eq!(sim.step_of("web"), Some(Step::Pruning));
    sim.world.delete("Service");
    sim.pass(Span::secs(5));
    assert_eq!(sim.phase("web"), Phase::Synced);
    let deletes = sim.world.deletes.iter().filter(|deleted| **deleted == key("Service")).count();
    assert_eq!(deletes, 1, "asked once");
}

#[test]
fn pruning_many_objects_makes_few_events() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', bundle(&maps(300)));
    sim.said();
    sim.entry("web", 'b', bundle(&maps(1))).policy.max_deletes = MaxDeletes::Percent(100);
    sim.send();
    sim.pass(Span::secs(10));
    assert_eq!(sim.world.objects.len(), 1);
    assert_eq!(sim.said(), ["Syncing Healthy", "Pruned", "Pruned", "Synced Healthy"]);
}

#[test]
fn what_a_newer_entry_wants_again_is_applied_though_its_deletion_was_under_way() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap", "Secret"], "1"));
    sim.entry("web", 'b', objects(&["ConfigMap"], "1"));
    sim.send();
    while !matches!(sim.pending.front(), Some((_, Effect::Delete { .. }))) {
        sim.perform(0);
    }
    sim.entry("web", 'c', objects(&["ConfigMap", "Secret"], "1"));
    sim.send();
    // Everything else goes first; the deletion is answered last.
    while sim.pending.len() > 1 {
        sim.perform(1);
    }
    sim.pass(Span::secs(10));
    assert!(sim.has("Secret"));
    assert_eq!(sim.phase("web"), Phase::Synced);
    assert_eq!(sim.step_of("web"), Some(Step::Resting));
    assert!(!sim.said().contains(&"DriftHealed".to_string()), "nobody else took it");
}

#[test]
fn an_object_that_somebody_else_deleted_is_not_said_to_be_pruned() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["Namespace/web", "ConfigMap"], "1"));
    sim.deliver("web", 'b', objects(&["ConfigMap"], "1"));
    assert_eq!(sim.phase("web"), Phase::Parked);
    sim.said();
    sim.world.delete("Namespace/web");
    sim.pass(Span::secs(10));
    assert_eq!((sim.phase("web"), sim.said()), (Phase::Synced, Vec::from(["Synced Healthy".to_string()])));
}

#[test]
fn withdrawing_with_the_objects_deletes_them_and_without_leaves_them() {
    for (how, left) in [(Withdrawal::Cascade, 1), (Withdrawal::Orphan, 4)] {
        let mut sim = Sim::new();
        sim.deliver("web", 'a', objects(&["Namespace/web", "ConfigMap", "Service", "Deployment"], "1"));
        sim.said();
        sim.change("web", |entry| entry.withdrawn = Some(how));
        sim.pass(Span::secs(10));
        assert_eq!(sim.world.objects.len(), left, "{how:?}: a namespace is never deleted unasked");
        assert_eq!(sim.step_of("web"), None);
        let left = u32::try_from(left).unwrap();
        let facts = core::mem::take(&mut sim.facts);
        let last = &facts.last().unwrap().fact;
        let since = Some(sim.index.entries[&app("web")].since);
        assert_eq!(*last, AgentFact::Withdrawn { since, deleted: 4 - left, kept: left });
        assert!(facts.len() <= 2, "{} events", facts.len());
        assert!(sim.journal.is_empty() && sim.world.inventory.is_empty());
        // The hub has not heard of it yet: the index still names it.
        sim.send();
        sim.pass(Span::secs(10));
        assert_eq!(sim.said(), [""; 0], "said once");
        assert_eq!(sim.watched.len(), 0);
    }
}

#[test]
fn a_withdrawal_in_the_middle_of_a_delivery_waits_for_what_is_in_flight() {
    for how in [Withdrawal::Cascade, Withdrawal::Orphan] {
        for steps in 0..14 {
            let mut sim = Sim::new();
            sim.entry("web", 'a', bundle(&maps(12)));
            sim.send();
            for _ in 0..steps {
                sim.perform(0);
            }
            sim.change("web", |entry| entry.withdrawn = Some(how));
            sim.pass(Span::secs(10));
            assert_eq!(sim.step_of("web"), None, "{how:?} after {steps}");
            if how == Withdrawal::Cascade {
                assert!(sim.world.objects.is_empty(), "nothing is left behind after {steps}");
            }
        }
    }
}

#[test]
fn what_others_made_under_a_name_of_ours_is_not_deleted() {
    // Before we could apply it.
    let mut sim = Sim::new();
    sim.world.make("Secret");
    sim.world.failing.insert(("apply", key("Secret")));
    sim.deliver("web", 'a', objects(&["ConfigMap", "Secret"], "1"));
    sim.change("web", |entry| entry.withdrawn = Some(Withdrawal::Cascade));
    sim.pass(Span::secs(10));
    assert_eq!((sim.step_of("web"), sim.has("ConfigMap"), sim.has("Secret")), (None, false, true));
    // After ours was deleted by somebody, while nobody looked.
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap", "Secret"], "1"));
    sim.world.objects.remove(&key("Secret"));
    sim.world.make("Secret");
    sim.restart();
    sim.world.shown.clear();
    sim.deliver("web", 'b', objects(&["ConfigMap"], "1"));
    assert_eq!((sim.phase("web"), sim.has("Secret")), (Phase::Synced, true));
    assert_eq!(sim.agent.instance(&app("web")).unwrap().items.len(), 1);
}

#[test]
fn what_was_applied_just_before_a_crash_is_still_ours_to_prune() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap", "Secret"], "1"));
    sim.world.delete("Secret");
    sim.watch();
    sim.wait(Span::secs(1));
    let (asked, effect) = sim.hold_back(|effect| matches!(effect, Effect::Apply { .. }));
    sim.world.perform(asked, effect);
    sim.restart();
    sim.deliver("web", 'b', objects(&["ConfigMap"], "1"));
    assert_eq!((sim.phase("web"), sim.has("Secret")), (Phase::Synced, false));
}

#[test]
fn an_app_that_is_absent_keeps_its_objects_and_its_inventory_until_it_is_back() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap", "Secret"], "1"));
    sim.index.entries.clear();
    sim.send();
    sim.pass(Span::secs(10));
    assert!(sim.has("ConfigMap") && sim.has("Secret"));
    assert_eq!(sim.journal[&app("web")].items.len(), 2);
    sim.deliver("web", 'b', objects(&["ConfigMap"], "1"));
    assert!(!sim.has("Secret"), "what left it meanwhile is pruned");
}

#[test]
fn a_late_answer_to_a_look_does_not_forget_an_object_that_is_being_applied() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap"], "1"));
    // Two quick deletions by somebody else: the second is looked at first because the first was healed.
    sim.world.delete("ConfigMap");
    sim.pass(Span::secs(1));
    sim.world.delete("ConfigMap");
    sim.watch();
    sim.wait(Span::secs(1));
    while !matches!(sim.pending.front(), Some((_, Effect::Inspect { .. })) | None) {
        sim.perform(0);
    }
    let (asked, effect) = sim.pending.pop_front().unwrap();
    let missing = sim.world.perform(asked, effect);
    sim.input(missing.clone());
    assert!(matches!(sim.pending.front(), Some((_, Effect::Apply { .. }))));
    sim.change("web", |entry| entry.withdrawn = Some(Withdrawal::Cascade));
    let Input::Inspected { app, key, outcome, .. } = missing else { panic!("an answer to a look") };
    sim.input(Input::Inspected { app, key, against: false, outcome });
    sim.pass(Span::secs(10));
    assert!(sim.world.objects.is_empty());
}

#[test]
fn an_object_that_never_came_to_be_keeps_no_app_out_of_sync() {
    let mut sim = Sim::new();
    sim.world.failing.insert(("apply", key("ConfigMap/never")));
    sim.deliver("web", 'a', objects(&["ConfigMap", "ConfigMap/never"], "1"));
    assert_eq!(sim.phase("web"), Phase::Failed);
    sim.entry("web", 'b', objects(&["ConfigMap"], "2"));
    sim.change("web", |entry| entry.policy.prune = false);
    sim.send();
    sim.pass(Span::secs(5));
    assert_eq!((sim.phase("web"), sim.message("web")), (Phase::Synced, String::new()));
}

#[test]
fn an_object_is_kept_from_the_moment_its_apply_is_asked_for() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap", "ConfigMap/safe"], "1"));
    let mut kept = object("ConfigMap/safe", "2");
    kept.keep = true;
    sim.world.failing.insert(("apply", key("ConfigMap/safe")));
    sim.deliver("web", 'b', Vec::from([object("ConfigMap", "1"), kept]));
    assert!(sim.journal[&app("web")].items[&key("ConfigMap/safe")].keep, "the answer may have been lost");
    sim.deliver("web", 'c', objects(&["ConfigMap"], "1"));
    sim.pass(Span::secs(5));
    assert!(sim.has("ConfigMap/safe"));
}

#[test]
fn an_object_is_kept_that_leaves_git_again_before_it_is_applied_after_a_lost_journal() {
    let mut sim = Sim::new();
    let safe = || {
        let mut safe = object("ConfigMap/safe", "1");
        safe.keep = true;
        Vec::from([object("ConfigMap", "1"), safe])
    };
    sim.deliver("web", 'a', safe());
    (sim.journal, sim.held) = Default::default();
    sim.restart();
    sim.entry("web", 'b', safe());
    sim.send();
    sim.perform(0);
    assert!(
        matches!(sim.pending.front(), Some((_, Effect::Store { .. }))),
        "the bundle is read, nothing is applied"
    );
    sim.deliver("web", 'c', objects(&["ConfigMap"], "1"));
    sim.pass(Span::secs(5));
    assert!(sim.has("ConfigMap/safe"));
}

#[test]
fn what_somebody_made_before_we_could_is_none_of_ours_that_stays_behind() {
    for (prune, kind) in [(false, "Secret"), (true, "Namespace/web")] {
        let mut sim = Sim::new();
        sim.deliver("web", 'a', objects(&["ConfigMap"], "1"));
        sim.world.failing.insert(("apply", key(kind)));
        sim.deliver("web", 'b', objects(&["ConfigMap", kind], "1"));
        assert_eq!((sim.phase("web"), sim.has(kind)), (Phase::Failed, false));
        sim.world.make(kind);
        sim.entry("web", 'c', objects(&["ConfigMap"], "1")).policy.prune = prune;
        sim.send();
        sim.pass(Span::secs(10));
        assert_eq!((sim.phase("web"), sim.message("web")), (Phase::Synced, String::new()), "{kind}");
        assert_eq!((sim.has(kind), sim.agent.next_wake()), (true, None), "it is theirs");
    }
}

#[test]
fn an_object_that_lost_our_label_after_it_left_git_is_counted_until_somebody_deletes_it() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap", "Secret"], "1"));
    sim.entry("web", 'b', objects(&["ConfigMap"], "1")).policy.prune = false;
    sim.send();
    sim.pass(Span::secs(10));
    sim.world.unlabel("Secret");
    sim.pass(Span::secs(10));
    assert_eq!(sim.message("web"), "1 objects left the bundle and are kept");
    // No watch shows the end of what does not carry our label.
    sim.world.objects.remove(&key("Secret"));
    sim.pass(Span::secs(60));
    assert_eq!((sim.phase("web"), sim.agent.instance(&app("web")).unwrap().items.len()), (Phase::Synced, 1));
    assert_eq!(sim.agent.next_wake(), None, "and then nothing is looked at any more");
}

#[test]
fn an_object_without_our_label_is_counted_after_a_restart_and_when_it_leaves_later_until_it_is_gone() {
    let leaves = |restarts: bool| {
        let mut sim = Sim::new();
        sim.entry("web", 'a', objects(&["ConfigMap", "Secret"], "1")).policy.self_heal = false;
        sim.send();
        sim.pass(Span::secs(10));
        sim.world.unlabel("Secret");
        sim.pass(Span::secs(10));
        let policy = &mut sim.entry("web", 'b', objects(&["ConfigMap"], "1")).policy;
        (policy.prune, policy.self_heal) = (false, false);
        sim.send();
        sim.pass(Span::secs(10));
        if restarts {
            sim.restart();
            sim.pass(Span::secs(10));
        }
        assert_eq!(sim.message("web"), "1 objects left the bundle and are kept");
        sim.world.objects.remove(&key("Secret"));
        sim.pass(Span::secs(60));
        sim.phase("web")
    };
    assert_eq!((leaves(false), leaves(true)), (Phase::Synced, Phase::Synced));
}

/// An app without self-heal whose Secret left Git, and whose deletion waits for a finalizer.
fn going() -> Sim {
    let mut sim = Sim::new();
    for (letter, names) in [('a', &["ConfigMap", "Secret"][..]), ('b', &["ConfigMap"])] {
        sim.entry("web", letter, objects(names, "1")).policy.self_heal = false;
        sim.send();
        sim.pass(Span::secs(10));
        if let Some(secret) = sim.world.objects.get_mut(&key("Secret")) {
            secret.finalizer = true;
        }
    }
    assert_eq!(sim.step_of("web"), Some(Step::Pruning));
    sim
}

fn returns(sim: &mut Sim, letter: char) {
    sim.entry("web", letter, objects(&["ConfigMap", "Secret"], "1")).policy.self_heal = false;
    sim.send();
    sim.pass(Span::secs(10));
}

#[test]
fn the_end_of_an_object_that_somebody_deleted_and_that_lost_our_label_is_noticed_by_looking() {
    let mut sim = Sim::new();
    sim.entry("web", 'a', objects(&["ConfigMap/goes", "ConfigMap"], "1")).policy.self_heal = false;
    sim.send();
    sim.pass(Span::secs(30));
    sim.world.unlabel("ConfigMap/goes");
    sim.watch();
    sim.wait(Span(20));
    sim.world.end("ConfigMap/goes");
    // The look that was asked for is answered before the next bundle is there.
    sim.entry("web", 'b', objects(&["ConfigMap"], "1"));
    sim.send();
    sim.pass(Span::secs(30));
    assert_eq!((sim.step_of("web"), sim.phase("web")), (Some(Step::Pruning), Phase::Syncing));
    sim.world.delete("ConfigMap/goes");
    sim.pass(Span::secs(5));
    assert_eq!((sim.step_of("web"), sim.phase("web")), (Some(Step::Resting), Phase::Synced));
}

#[test]
fn what_returns_to_git_while_its_deletion_waits_is_applied_once_the_old_one_is_gone() {
    let mut sim = going();
    sim.applied();
    returns(&mut sim, 'c');
    assert_eq!((sim.phase("web"), sim.applied()), (Phase::Failed, Vec::new()), "what goes is not applied to");
    let trouble = &sim.agent.instance(&app("web")).unwrap().status().troubles[0];
    assert_eq!(trouble.message, "it is being deleted, and is made again once it is gone");
    sim.said();
    sim.pass(Span::secs(3_600));
    assert_eq!(sim.said(), [""; 0], "waiting is not news");
    sim.world.delete("Secret");
    sim.pass(Span::secs(1));
    assert!(sim.has("Secret") && !sim.world.objects[&key("Secret")].deleting);
    assert_eq!((sim.phase("web"), sim.step_of("web")), (Phase::Synced, Some(Step::Resting)));
    assert_eq!(sim.said(), ["Synced Healthy"], "nobody else took it");
}

#[test]
fn what_returns_while_its_deletion_waits_is_applied_after_a_restart_and_without_our_label_too() {
    let mut sim = going();
    returns(&mut sim, 'c');
    sim.restart();
    sim.pass(Span::secs(10));
    assert_eq!(sim.phase("web"), Phase::Failed);
    sim.restart();
    sim.world.objects.remove(&key("Secret"));
    sim.pass(Span::secs(600));
    assert_eq!((sim.phase("web"), sim.has("Secret")), (Phase::Synced, true));

    let mut sim = going();
    returns(&mut sim, 'c');
    sim.world.unlabel("Secret");
    sim.pass(Span::secs(10));
    assert_eq!(sim.phase("web"), Phase::Failed, "it is still there");
    sim.world.objects.remove(&key("Secret"));
    sim.pass(Span::secs(3));
    assert_eq!((sim.phase("web"), sim.has("Secret")), (Phase::Synced, true));
}

#[test]
fn an_apply_that_met_what_goes_is_done_again_once_that_is_gone() {
    let mut sim = going();
    // The agent starts again and has seen nothing of the object when its new content is applied.
    sim.restart();
    let fresh = Vec::from([object("ConfigMap", "1"), object("Secret", "2")]);
    sim.entry("web", 'c', fresh).policy.self_heal = false;
    sim.world.shown.clear();
    sim.send();
    while !sim.world.applies.iter().any(|(applied, _)| *applied == key("Secret")) {
        sim.perform(0);
    }
    // The watches say nothing: what is as it was is not written before they had their time.
    sim.pass(Span::secs(60));
    assert_eq!(sim.phase("web"), Phase::Failed);
    sim.world.delete("Secret");
    sim.pass(Span::secs(60));
    assert_eq!((sim.phase("web"), sim.has("Secret")), (Phase::Synced, true));
}

#[test]
fn what_failed_for_want_of_a_namespace_that_goes_is_tried_again_at_once() {
    let mut sim = Sim::new();
    sim.world.needs_namespace = true;
    sim.deliver("web", 'a', objects(&["Namespace/web", "ConfigMap"], "1"));
    let namespace = sim.world.objects.get_mut(&key("Namespace/web")).unwrap();
    (namespace.deleting, namespace.version) = (true, 1_000);
    sim.world.show_all();
    sim.world.failing.insert(("apply", key("ConfigMap")));
    sim.deliver("web", 'b', objects(&["Namespace/web", "ConfigMap"], "2"));
    assert_eq!(
        (sim.phase("web"), sim.agent.instance(&app("web")).unwrap().status().troubles.len()),
        (Phase::Failed, 2)
    );
    sim.pass(Span::secs(3_600));
    sim.world.failing.clear();
    sim.world.objects.clear();
    sim.world.shown.push_back(Input::Gone { key: key("Namespace/web") });
    sim.pass(Span::secs(1));
    assert_eq!((sim.phase("web"), sim.has("ConfigMap")), (Phase::Synced, true));
}

#[test]
fn an_app_that_comes_back_while_its_inventory_is_being_removed_writes_it_anew() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap"], "1"));
    sim.said();
    sim.change("web", |entry| entry.withdrawn = Some(Withdrawal::Orphan));
    let asked = |(_, effect): &(_, Effect)| matches!(effect, Effect::Forget { .. });
    let place = sim.pending.iter().position(asked).expect("the inventory is to go");
    let (about, effect) = sim.pending.remove(place).unwrap();
    sim.pass(Span::secs(10));
    assert_eq!(sim.said(), [""; 0], "it is not withdrawn before its inventory is gone");
    sim.change("web", |entry| entry.withdrawn = None);
    sim.pass(Span::secs(10));
    let late = sim.world.perform(about, effect);
    sim.input(late);
    sim.pass(Span::secs(10));
    assert_eq!(sim.phase("web"), Phase::Synced);
    assert_eq!(sim.world.inventory[&app("web")].len(), 1, "a removal that lasted took nothing newer");
}
