//! Drift: healed at once, held back where somebody fights, reported where the policy says so.

use super::model::*;
use crate::event::AgentFact;
use crate::event::agent::Phase;
use crate::health::Health;
use crate::node::agent::Input;
use crate::sync::{Effect, Fingerprint};
use crate::time::Span;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

fn delivered() -> Sim {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap", "Service", "Deployment"], "1"));
    sim.said();
    sim.applied();
    sim
}

/// Delivered with a policy that only reports drift.
fn not_healed() -> Sim {
    let mut sim = Sim::new();
    sim.entry("web", 'a', objects(&["ConfigMap", "Service"], "1")).policy.self_heal = false;
    sim.send();
    sim.pass(Span::secs(5));
    sim
}

fn healed(sim: &mut Sim) -> Vec<(String, Vec<String>, String, u32)> {
    let facts = core::mem::take(&mut sim.facts);
    let healed = facts.into_iter().filter_map(|event| match event.fact {
        AgentFact::DriftHealed { object, fields, manager, attempts, .. } => {
            Some((object.to_string(), fields, manager, attempts))
        }
        _ => None,
    });
    healed.collect()
}

#[test]
fn an_edit_is_healed_at_once_and_only_the_object_concerned_is_written() {
    let mut sim = delivered();
    sim.world.edit("ConfigMap", ".data.mode", "kubectl-edit");
    sim.pass(Span(0));
    assert_eq!(sim.applied(), ["ConfigMap web/web"]);
    let facts = core::mem::take(&mut sim.facts);
    let fields = Vec::from([".data.mode".to_string()]);
    let (object, manager) = (key("ConfigMap"), "kubectl-edit".to_string());
    let begun = AgentFact::DriftBegun {
        object: object.clone(),
        fields: fields.clone(),
        manager: manager.clone(),
        gone: false,
    };
    let healed = AgentFact::DriftHealed { object, fields, manager, lasted_ms: 0, attempts: 1 };
    assert_eq!(facts.into_iter().map(|event| event.fact).collect::<Vec<_>>(), [begun, healed]);
}

#[test]
fn an_object_that_is_gone_is_made_again() {
    let mut sim = delivered();
    sim.world.delete("ConfigMap");
    sim.pass(Span::secs(1));
    assert!(sim.has("ConfigMap"));
    assert_eq!(sim.said(), ["DriftBegun", "DriftHealed"]);
    sim.world.delete("Deployment");
    sim.pass(Span::secs(1));
    assert!(sim.has("Deployment"));
    assert_eq!(sim.said(), ["DriftBegun", "DriftHealed"], "healed before its health is news");
}

#[test]
fn an_object_without_our_label_is_not_taken_for_gone() {
    let mut sim = delivered();
    sim.world.unlabel("ConfigMap");
    sim.pass(Span::secs(1));
    assert!(!sim.world.objects[&key("ConfigMap")].unlabelled);
    let gone: Vec<bool> = sim
        .facts
        .iter()
        .filter_map(|event| match &event.fact {
            AgentFact::DriftBegun { gone, .. } => Some(*gone),
            _ => None,
        })
        .collect();
    assert_eq!(gone, [false]);
    assert_eq!(sim.said(), ["DriftBegun", "DriftHealed"]);
}

#[test]
fn a_look_that_fails_is_not_done_again_at_once_although_more_was_lost_meanwhile() {
    let mut sim = not_healed();
    sim.world.failing.insert(("inspect", key("Service")));
    sim.world.edit("Service", ".spec.ports", "kubectl-edit");
    sim.world.unlabel("Service");
    // Whoever asks again at once spins, which the model notices.
    sim.pass(Span::secs(60));
    sim.world.failing.clear();
    sim.pass(Span::secs(60));
    assert_eq!(sim.phase("web"), Phase::OutOfSync);
}

#[test]
fn without_self_heal_drift_is_reported_until_somebody_mends_it() {
    let mut sim = not_healed();
    sim.said();
    sim.applied();
    sim.world.edit("ConfigMap", ".data.mode", "kubectl-edit");
    sim.world.delete("Service");
    sim.pass(Span::secs(60));
    assert_eq!((sim.applied(), sim.phase("web")), (Vec::new(), Phase::OutOfSync));
    let said = sim.said();
    assert_eq!(said.iter().filter(|word| *word == "DriftBegun").count(), 2, "{said:?}");
    sim.world.unedit("ConfigMap");
    sim.pass(Span::secs(5));
    assert_eq!((sim.said(), sim.phase("web")), (Vec::from(["DriftHealed".to_string()]), Phase::OutOfSync));
    // A person asks for a sync: the entry is raised and everything is applied.
    sim.change("web", |_| {});
    sim.pass(Span::secs(5));
    assert_eq!(
        (sim.applied(), sim.phase("web")),
        (Vec::from(["Service web/web".to_string()]), Phase::Synced)
    );
}

#[test]
fn who_keeps_taking_a_field_is_answered_more_and_more_slowly() {
    let mut sim = delivered();
    let mut waits = Vec::new();
    for _ in 0..6 {
        let begun = sim.now;
        sim.world.edit("ConfigMap", ".data.mode", "operator");
        while !sim.world.objects[&key("ConfigMap")].taken.is_empty() {
            sim.pass(Span(100));
            assert!(sim.now.since(begun) < Span::secs(400), "it is never healed");
        }
        waits.push((sim.now.since(begun).0 + 400) / 1_000);
    }
    assert_eq!(waits, [0, 0, 2, 6, 18, 54]);
    let attempts: Vec<u32> = healed(&mut sim).into_iter().map(|(_, _, _, attempts)| attempts).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_field_that_nobody_fights_over_is_healed_at_once_beside_one_that_is_and_so_is_another_object() {
    let mut sim = delivered();
    for _ in 0..4 {
        sim.world.edit("ConfigMap", ".data.mode", "operator");
        sim.pass(Span::secs(10));
    }
    sim.world.edit("ConfigMap", ".data.mode", "operator");
    sim.pass(Span::secs(1));
    assert!(!sim.world.objects[&key("ConfigMap")].taken.is_empty(), "it waits");
    assert_eq!(sim.phase("web"), Phase::OutOfSync);
    sim.world.edit("Service", ".spec.port", "kubectl-edit");
    sim.pass(Span(0));
    assert!(sim.world.objects[&key("Service")].taken.is_empty(), "another object");
    sim.world.edit("ConfigMap", ".data.other", "kubectl-edit");
    sim.pass(Span(0));
    assert!(sim.world.objects[&key("ConfigMap")].taken.is_empty(), "another field");
}

#[test]
fn what_a_watch_shows_late_is_not_taken_for_drift() {
    let mut sim = delivered();
    let old = sim.world.objects[&key("ConfigMap")].clone();
    sim.deliver("web", 'b', objects(&["ConfigMap", "Service", "Deployment"], "2"));
    sim.applied();
    let stale = Fingerprint { uid: old.uid.to_string(), version: old.version, owned: 77, deleting: false };
    sim.input(Input::Seen { key: key("ConfigMap"), fingerprint: stale });
    sim.pass(Span::secs(5));
    assert_eq!(sim.applied(), [""; 0]);
    // Deleted and made again before the watch says so.
    sim.said();
    sim.world.delete("ConfigMap");
    sim.world.touch("Deployment");
    sim.pass(Span::secs(2));
    sim.said();
    sim.input(Input::Gone { key: key("ConfigMap") });
    sim.pass(Span::secs(2));
    assert_eq!(sim.said(), [""; 0], "it was there all the time");
}

#[test]
fn a_change_that_the_watch_shows_before_the_answer_to_our_apply_is_not_lost() {
    for gone in [false, true] {
        let mut sim = delivered();
        sim.entry("web", 'b', objects(&["ConfigMap", "Service", "Deployment"], "2"));
        sim.send();
        let (asked, effect) = sim.hold_back(|effect| matches!(effect, Effect::Apply { .. }));
        let answer = sim.world.perform(asked, effect);
        if gone {
            sim.world.delete("ConfigMap");
        } else {
            sim.world.edit("ConfigMap", ".data.mode", "operator");
        }
        sim.watch();
        sim.input(answer);
        sim.pass(Span::secs(10));
        let live = &sim.world.objects[&key("ConfigMap")];
        assert_eq!((live.taken.len(), live.content), (0, object("ConfigMap", "2").content), "gone: {gone}");
    }
}

#[test]
fn a_drift_that_a_look_sees_before_the_watch_does_is_healed() {
    let mut sim = delivered();
    sim.world.health.insert(key("Deployment"), (Health::Progressing, None));
    sim.world.touch("Deployment");
    sim.pass(Span::secs(3));
    sim.world.edit("Deployment", ".spec.replicas", "kubectl-scale");
    let late = core::mem::take(&mut sim.world.shown);
    sim.now = sim.now.plus(Span::secs(2));
    sim.run();
    sim.world.shown = late;
    sim.pass(Span::secs(2));
    assert!(sim.world.objects[&key("Deployment")].taken.is_empty());
}

#[test]
fn a_drift_that_comes_while_the_object_is_looked_at_is_healed_after_the_look() {
    let mut sim = delivered();
    sim.world.touch("Deployment");
    sim.watch();
    sim.now = sim.now.plus(Span(100));
    sim.input(Input::Wake);
    let (asked, effect) = sim.pending.pop_front().unwrap();
    assert!(matches!(effect, Effect::Inspect { .. }));
    let answer = sim.world.perform(asked, effect);
    sim.world.edit("Deployment", ".spec.replicas", "kubectl-scale");
    sim.watch();
    assert!(sim.pending.iter().all(|(_, effect)| !matches!(effect, Effect::Apply { .. })));
    sim.input(answer);
    sim.pass(Span::secs(1));
    assert!(sim.world.objects[&key("Deployment")].taken.is_empty());
}

/// Somebody took a field of the ConfigMap a third time: its heal waits.
fn fought_over() -> Sim {
    let mut sim = delivered();
    for _ in 0..3 {
        sim.world.edit("ConfigMap", ".data.mode", "operator");
        sim.run();
    }
    sim
}

#[test]
fn a_drift_that_waits_is_told_once_and_its_deletion_waits_for_nothing() {
    let mut sim = fought_over();
    assert!(sim.said().contains(&"DriftBegun".to_string()), "the third heal waits");
    sim.world.touch("ConfigMap");
    sim.run();
    assert!(!sim.said().contains(&"DriftBegun".to_string()));
    sim.world.delete("ConfigMap");
    sim.pass(Span(100));
    assert!(sim.has("ConfigMap"), "nobody fights over the object itself");
}

#[test]
fn eight_heals_are_under_way_at_once() {
    let mut sim = Sim::new();
    let many: Vec<String> = (0..40).map(|n| format!("ConfigMap/c{n}")).collect();
    sim.deliver("web", 'a', many.iter().map(|name| object(name, "1")).collect());
    for name in &many {
        sim.world.edit(name, ".data.mode", "kubectl-edit");
    }
    sim.watch();
    assert_eq!(sim.pending.len(), 8);
    sim.pass(Span::secs(5));
    assert!(many.iter().all(|name| sim.world.objects[&key(name)].taken.is_empty()));
}

#[test]
fn a_heal_is_said_with_its_answer_before_any_watch_shows_it() {
    let mut sim = fought_over();
    assert_eq!(sim.phase("web"), Phase::OutOfSync, "the third heal waits");
    while sim.pending.is_empty() {
        sim.now = sim.agent.next_wake().unwrap().max(sim.now);
        sim.input(Input::Wake);
    }
    assert!(matches!(sim.pending.front(), Some((_, Effect::Apply { .. }))), "it was looked at before");
    sim.perform(0);
    assert_eq!(sim.phase("web"), Phase::Synced);
    assert!(!sim.world.shown.is_empty());
}

#[test]
fn a_heal_that_fails_is_named_and_tried_again_with_growing_pauses() {
    let mut sim = delivered();
    sim.world.failing.insert(("apply", key("ConfigMap")));
    sim.world.edit("ConfigMap", ".data.mode", "kubectl-edit");
    sim.pass(Span::secs(1));
    assert_eq!(sim.phase("web"), Phase::Failed);
    sim.said();
    let mut tries = 0;
    let end = sim.now.plus(Span::secs(600));
    while sim.now < end {
        sim.now = sim.agent.next_wake().unwrap().max(sim.now);
        tries += 1;
        assert!(tries < 20, "{tries} tries in less than ten minutes");
        sim.run();
    }
    assert_eq!(sim.said(), [""; 0], "trying again is not news");
    sim.world.failing.clear();
    sim.pass(Span::secs(200));
    assert_eq!(sim.phase("web"), Phase::Synced);
    assert_eq!(healed(&mut sim).len(), 1);
}

#[test]
fn healing_needs_no_bundle() {
    let mut sim = delivered();
    sim.world.no_bundles = true;
    sim.world.edit("ConfigMap", ".data.mode", "operator");
    sim.pass(Span::secs(5));
    assert!(sim.world.objects[&key("ConfigMap")].taken.is_empty());
}

#[test]
fn a_lost_namespace_is_made_again_before_what_lies_in_it_and_eight_requests_are_enough() {
    let mut sim = Sim::new();
    sim.world.needs_namespace = true;
    let many: Vec<String> = (0..40).map(|n| format!("ConfigMap/c{n}")).collect();
    let mut bundle = objects(&["Namespace/web"], "1");
    bundle.extend(many.iter().map(|name| object(name, "1")));
    sim.deliver("web", 'a', bundle);
    sim.said();
    sim.applied();
    for name in &many {
        sim.world.delete(name);
    }
    sim.world.delete("Namespace/web");
    sim.watch();
    sim.wait(Span(20));
    assert_eq!(sim.pending.len(), 1, "the namespace alone: {:?}", sim.pending);
    let mut most = 0;
    while !sim.pending.is_empty() {
        most = most.max(sim.pending.len());
        sim.perform(0);
        sim.watch();
    }
    assert_eq!(most, 8);
    sim.pass(Span::secs(30));
    assert_eq!(sim.world.objects.len(), 41);
    assert_eq!(sim.phase("web"), Phase::Synced);
    assert!(!sim.said().iter().any(|word| word.starts_with("Failed")), "nothing had to fail");
}

#[test]
fn a_workload_that_is_deleted_while_its_health_is_waited_for_is_made_again() {
    let mut sim = delivered();
    sim.world.health.insert(key("Deployment"), (Health::Progressing, None));
    sim.deliver("web", 'b', objects(&["ConfigMap", "Deployment"], "2"));
    assert_eq!(sim.phase("web"), Phase::Syncing);
    sim.world.delete("Deployment");
    sim.pass(Span::secs(5));
    assert!(sim.has("Deployment"));
    sim.world.health.clear();
    sim.pass(Span::secs(20));
    assert_eq!((sim.phase("web"), sim.has("Service")), (Phase::Synced, false));
}

#[test]
fn taking_over_fields_of_others_is_said_by_whom_they_were_held() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap"], "1"));
    sim.said();
    let live = sim.world.objects.get_mut(&key("ConfigMap")).unwrap();
    live.taken.insert(".data.mode".into(), "helm".into());
    sim.deliver("web", 'b', objects(&["ConfigMap"], "2"));
    assert!(sim.said().contains(&"FieldsTaken".to_string()));
}

#[test]
fn an_object_that_goes_before_any_watch_showed_it_is_made_again() {
    for shown_before in [false, true] {
        let mut sim = Sim::new();
        if shown_before {
            sim.deliver("web", 'a', objects(&["ConfigMap"], "1"));
        }
        sim.entry("web", 'b', objects(&["ConfigMap"], "2"));
        sim.send();
        while !sim.pending.is_empty() {
            sim.perform(0);
            sim.world.shown.clear();
        }
        sim.world.objects.remove(&key("ConfigMap"));
        let kind = (String::new(), String::from("v1"), String::from("ConfigMap"));
        sim.input(Input::Listed { kind, served: true });
        sim.pass(Span::secs(2));
        assert!(sim.has("ConfigMap"), "the list did not show it, and nobody could say that it is gone");
    }
}

#[test]
fn a_list_that_shows_what_was_shown_before_asks_for_nothing() {
    let mut sim = delivered();
    let kind = (String::new(), String::from("v1"), String::from("ConfigMap"));
    sim.world.list(&kind);
    sim.watch();
    assert!(sim.pending.is_empty(), "{:?}", sim.pending);
}

#[test]
fn what_a_controller_writes_before_our_answer_arrives_is_no_drift() {
    let mut sim = Sim::new();
    sim.entry("web", 'a', objects(&["ConfigMap"], "1"));
    sim.send();
    let (asked, effect) = sim.hold_back(|effect| matches!(effect, Effect::Apply { .. }));
    let answer = sim.world.perform(asked, effect);
    sim.world.touch("ConfigMap");
    sim.watch();
    sim.input(answer);
    sim.pass(Span::secs(30));
    assert_eq!(sim.applied(), ["ConfigMap web/web"]);
    assert_eq!(sim.said(), ["AgentStarted", "Syncing Progressing", "Synced Healthy"]);
}

#[test]
fn a_look_that_found_an_object_before_it_was_deleted_does_not_bring_it_back() {
    for heals in [true, false] {
        let mut sim = Sim::new();
        sim.entry("web", 'a', objects(&["ConfigMap", "Deployment"], "1")).policy.self_heal = heals;
        sim.send();
        sim.pass(Span::secs(10));
        sim.world.touch("Deployment");
        sim.watch();
        sim.wait(Span::secs(1));
        let (asked, effect) = sim.pending.pop_front().unwrap();
        let found = sim.world.perform(asked, effect);
        assert!(matches!(found, Input::Inspected { .. }));
        sim.world.delete("Deployment");
        sim.watch();
        sim.input(found);
        sim.pass(Span::secs(10));
        assert_eq!(sim.has("Deployment"), heals);
        let health = sim.agent.instance(&app("web")).unwrap().health_of(&key("Deployment")).unwrap().health;
        assert_eq!(health, if heals { Health::Healthy } else { Health::Missing });
    }
}
