//! Delivering: order, what is written and what is left alone, failures, pre-emption, restarts.

use super::model::*;
use crate::desired::{Mark, Policy};
use crate::event::agent::Phase;
use crate::health::{Cause, Health};
use crate::node::agent::Input;
use crate::sync::{Effect, Limits, Problem, Step};
use crate::time::Span;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

const WEB: [&str; 3] = ["ConfigMap", "Service", "Deployment"];

#[test]
fn a_bundle_is_applied_once_per_object_and_said_to_be_synced() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&WEB, "1"));
    let wanted = ["ConfigMap web/web", "Service web/web", "Deployment.apps web/web"];
    assert_eq!(sim.applied(), wanted, "in the order of kinds");
    assert_eq!(sim.said(), ["AgentStarted", "Syncing Progressing", "Synced Progressing", "Synced Healthy"]);
    assert_eq!(sim.world.inventory[&app("web")].len(), 3);
    let kinds: Vec<&str> = sim.watched.iter().map(|(_, _, kind)| kind.as_str()).collect();
    assert_eq!(kinds, ["ConfigMap", "Service", "Deployment"]);
    assert_eq!(sim.step_of("web"), Some(Step::Resting));
    sim.pass(Span::secs(300));
    assert_eq!((sim.agent.next_wake(), sim.said()), (None, Vec::new()), "nothing is left to do");
}

#[test]
fn the_inventory_is_journalled_and_stored_before_the_first_apply() {
    let mut sim = Sim::new();
    sim.entry("web", 'a', objects(&WEB, "1"));
    sim.send();
    while !matches!(sim.pending.front(), Some((_, Effect::Apply { .. })) | None) {
        sim.perform(0);
    }
    assert_eq!(sim.world.inventory[&app("web")].len(), 3);
    assert_eq!(
        sim.journal[&app("web")].items.len(),
        3,
        "journalled with the step that asks for the first apply"
    );
    assert!(sim.world.applies.is_empty());
}

#[test]
fn an_inventory_that_could_not_be_stored_holds_everything_back() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap"], "1"));
    sim.applied();
    sim.world.no_store = true;
    sim.deliver("web", 'b', objects(&["ConfigMap", "Service"], "1"));
    assert_eq!(sim.applied(), [""; 0]);
    assert_eq!((sim.phase("web"), sim.message("web")), (Phase::Failed, "not stored".to_string()));
    sim.world.no_store = false;
    sim.pass(Span::secs(180));
    assert!(sim.world.inventory[&app("web")].contains(&key("Service")), "stored before it was applied");
    assert_eq!(
        (sim.applied(), sim.phase("web")),
        (Vec::from(["Service web/web".to_string()]), Phase::Synced)
    );
}

#[test]
fn the_next_commit_writes_only_what_it_changes() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&WEB, "1"));
    sim.applied();
    let mut next = objects(&WEB, "1");
    next[2] = object("Deployment", "2");
    sim.deliver("web", 'b', next);
    assert_eq!(sim.applied(), ["Deployment.apps web/web"]);
    assert_eq!(sim.world.objects[&key("Deployment")].commit, commit('b').to_string());
    assert_eq!(
        sim.world.objects[&key("Service")].commit,
        commit('a').to_string(),
        "names what last changed it"
    );
}

#[test]
fn eight_requests_are_in_flight_and_no_more() {
    let mut sim = Sim::new();
    let many: Vec<String> = (0..30).map(|n| format!("ConfigMap/c{n}")).collect();
    sim.entry("web", 'a', many.iter().map(|name| object(name, "1")).collect());
    sim.send();
    let mut most = 0;
    while !sim.pending.is_empty() {
        let applying = |(_, effect): &&(_, Effect)| matches!(effect, Effect::Apply { .. });
        most = most.max(sim.pending.iter().filter(applying).count());
        sim.perform(sim.pending.len() - 1);
    }
    assert_eq!((most, sim.world.applies.len()), (8, 30));
}

#[test]
fn stages_wait_for_each_other_and_definitions_until_they_are_established() {
    let mut sim = Sim::new();
    let definition = "CustomResourceDefinition/widgets.example.com";
    sim.world.health.insert(key(definition), (Health::Progressing, None));
    sim.deliver("web", 'a', objects(&["Widget", "ConfigMap", definition, "Namespace/web"], "1"));
    assert_eq!(
        sim.applied(),
        ["Namespace web", "CustomResourceDefinition.apiextensions.k8s.io widgets.example.com"]
    );
    assert_eq!((sim.step_of("web"), sim.phase("web")), (Some(Step::Applying), Phase::Syncing));
    sim.world.health.clear();
    sim.pass(Span::secs(2));
    assert_eq!(sim.applied(), ["ConfigMap web/web", "Widget.example.com web/web"]);
    assert_eq!(sim.phase("web"), Phase::Synced);
}

#[test]
fn a_definition_that_is_never_established_is_named_and_does_not_hold_the_rest_for_ever() {
    let mut sim = Sim::new();
    let definition = "CustomResourceDefinition/widgets.example.com";
    sim.world.health.insert(key(definition), (Health::Progressing, None));
    sim.deliver("web", 'a', objects(&["ConfigMap", definition], "1"));
    assert!(!sim.has("ConfigMap"));
    sim.pass(Span::secs(300));
    assert!(sim.has("ConfigMap"));
    assert_eq!(sim.phase("web"), Phase::Failed);
    assert!(sim.message("web").contains("not established in time"), "{}", sim.message("web"));
}

#[test]
fn a_definition_that_left_and_came_back_is_looked_at_again() {
    let mut sim = Sim::new();
    let definition = "CustomResourceDefinition/widgets.example.com";
    sim.deliver("web", 'a', objects(&["ConfigMap", "Secret", definition], "1"));
    sim.world.health.insert(key(definition), (Health::Progressing, None));
    sim.world.touch(definition);
    sim.pass(Span::secs(2));
    sim.deliver("web", 'b', objects(&["ConfigMap", "Secret"], "1"));
    sim.world.health.clear();
    sim.deliver("web", 'c', objects(&["ConfigMap", "Secret", definition, "Widget"], "1"));
    assert_eq!((sim.phase("web"), sim.has("Widget")), (Phase::Synced, true));
}

#[test]
fn a_failed_apply_is_tried_again_with_growing_pauses_and_stays_named() {
    let mut sim = Sim::new();
    sim.world.failing.insert(("apply", key("Service")));
    sim.deliver("web", 'a', objects(&WEB, "1"));
    assert!(sim.has("ConfigMap") && sim.has("Deployment"), "the rest is applied");
    assert_eq!(sim.phase("web"), Phase::Failed);
    let status = sim.agent.instance(&app("web")).unwrap().stated.clone().unwrap();
    assert_eq!(status.troubles[0].object, key("Service"));
    let said = sim.said();
    assert_eq!(said.iter().filter(|word| word.starts_with("Failed")).count(), 1, "said once: {said:?}");
    sim.pass(Span::secs(600));
    assert_eq!(sim.said(), [""; 0], "trying again is not news");
    let retries = sim.agent.next_wake().unwrap().since(sim.now);
    assert!(retries <= Span::secs(180), "the longest pause");
    sim.world.failing.clear();
    sim.pass(Span::secs(180));
    assert_eq!(sim.phase("web"), Phase::Synced);
    assert_eq!(sim.said().first().map(String::as_str), Some("Synced Healthy"));
}

#[test]
fn a_bundle_that_cannot_be_had_is_named_and_tried_again() {
    let mut sim = Sim::new();
    sim.world.no_bundles = true;
    sim.deliver("web", 'a', objects(&WEB, "1"));
    assert_eq!((sim.phase("web"), sim.message("web")), (Phase::Failed, "no bundle".to_string()));
    sim.world.no_bundles = false;
    sim.pass(Span::secs(180));
    assert_eq!((sim.phase("web"), sim.message("web")), (Phase::Synced, String::new()));
}

#[test]
fn a_workload_that_does_not_become_healthy_is_named_early_and_again_when_its_time_is_over() {
    let mut sim = Sim::new();
    let pulling = (Health::Progressing, Some(Cause::ImagePull));
    sim.world.health.insert(key("Deployment"), pulling);
    sim.deliver("web", 'a', objects(&WEB, "1"));
    let stated = sim.agent.instance(&app("web")).unwrap().stated.clone().unwrap();
    assert_eq!((stated.phase, stated.health), (Phase::Synced, Health::Progressing));
    assert_eq!(stated.troubles[0].cause, Some(Cause::ImagePull));

    let mut sim = Sim::new();
    sim.world.health.insert(key("Deployment"), (Health::Progressing, None));
    sim.deliver("web", 'a', objects(&WEB, "1"));
    sim.said();
    sim.pass(Span::secs(300));
    assert_eq!(sim.said(), ["Synced Progressing"], "the workload that is late is named");
    let stated = sim.agent.instance(&app("web")).unwrap().stated.clone().unwrap();
    assert_eq!(stated.troubles[0].object, key("Deployment"));
}

#[test]
fn a_workload_that_is_unwell_again_after_the_time_of_the_delivery_has_its_own_time() {
    let mut sim = Sim::new();
    let unwell = (Health::Progressing, None);
    sim.world.health.insert(key("Deployment"), unwell);
    sim.deliver("web", 'a', objects(&WEB, "1"));
    sim.world.health.clear();
    sim.pass(Limits::default().health_timeout);
    sim.world.health.insert(key("Deployment"), unwell);
    sim.world.touch("Deployment");
    sim.pass(Span::secs(5));
    let stated = |sim: &Sim| sim.agent.instance(&app("web")).unwrap().stated.clone().unwrap();
    assert_eq!((stated(&sim).health, stated(&sim).troubles.len()), (Health::Progressing, 0));
    sim.pass(Limits::default().health_timeout);
    assert_eq!(stated(&sim).troubles.len(), 1);
}

#[test]
fn a_newer_entry_pre_empts_and_late_answers_of_the_old_run_do_no_harm() {
    let mut sim = Sim::new();
    let many: Vec<String> = (0..20).map(|n| format!("ConfigMap/c{n}")).collect();
    sim.entry("web", 'a', many.iter().map(|name| object(name, "1")).collect());
    sim.send();
    while sim.world.applies.len() < 5 {
        sim.perform(0);
    }
    sim.entry("web", 'b', many.iter().map(|name| object(name, "2")).collect());
    sim.send();
    // The new run's answers overtake those of the old one.
    for _ in 0..100 {
        let new = sim.pending.iter().rposition(|(_, effect)| !matches!(effect, Effect::Apply { .. }));
        let Some(place) = new else { break };
        sim.perform(place);
    }
    let old: Vec<_> = sim.pending.iter().filter(|(_, e)| matches!(e, Effect::Apply { .. })).collect();
    assert!(old.len() <= 8, "the new run waits for what is in flight: {}", old.len());
    sim.pass(Span::secs(30));
    assert_eq!(sim.phase("web"), Phase::Synced);
    for name in &many {
        assert_eq!(sim.world.objects[&key(name)].content, object(name, "2").content, "{name}");
    }
}

#[test]
fn a_bundle_that_was_asked_for_by_an_older_run_is_not_taken() {
    let mut sim = Sim::new();
    sim.entry("web", 'a', objects(&WEB, "1"));
    sim.send();
    let (asked, effect) = sim.pending.pop_front().unwrap();
    let late = sim.world.perform(asked, effect);
    sim.entry("web", 'b', objects(&["Secret"], "1"));
    sim.send();
    sim.input(late);
    sim.pass(Span::secs(30));
    assert_eq!(sim.applied(), ["Secret web/web"]);
}

#[test]
fn answers_to_an_app_that_left_the_index_are_not_taken_for_answers_to_its_successor() {
    let mut sim = Sim::new();
    sim.entry("web", 'a', objects(&["Secret"], "1"));
    sim.send();
    let (asked, effect) = sim.pending.pop_front().unwrap();
    let late = sim.world.perform(asked, effect);
    sim.index.entries.clear();
    sim.send();
    sim.entry("web", 'b', objects(&["ConfigMap"], "1"));
    sim.send();
    sim.input(late);
    sim.pass(Span::secs(30));
    assert_eq!(sim.applied(), ["ConfigMap web/web"]);
}

#[test]
fn a_restart_with_everything_applied_says_nothing_but_that_it_started() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&WEB, "1"));
    sim.said();
    let before = sim.world.objects.clone();
    sim.restart();
    sim.pass(Span::secs(30));
    assert_eq!(sim.said(), ["AgentStarted"]);
    assert_eq!(sim.world.objects, before, "no object was changed");
}

#[test]
fn a_restart_finds_what_was_deleted_and_changed_meanwhile() {
    for heal in [true, false] {
        let mut sim = Sim::new();
        sim.entry("web", 'a', objects(&WEB, "1")).policy.self_heal = heal;
        sim.send();
        sim.pass(Span::secs(5));
        sim.world.delete("ConfigMap");
        sim.world.edit("Service", ".spec.port", "kubectl-edit");
        sim.applied();
        sim.restart();
        sim.pass(Span::secs(30));
        assert_eq!(sim.has("ConfigMap"), heal);
        assert_eq!(sim.world.objects[&key("Service")].taken.is_empty(), heal);
        let phase = if heal { Phase::Synced } else { Phase::OutOfSync };
        assert_eq!(sim.phase("web"), phase, "self-heal: {heal}");
        assert_eq!(sim.applied().is_empty(), !heal, "a restart writes nothing where nothing is healed");
    }
}

#[test]
fn a_restart_in_the_middle_of_a_delivery_goes_on_with_it() {
    for steps in 0..12 {
        let mut sim = Sim::new();
        sim.deliver("web", 'a', objects(&WEB, "1"));
        sim.entry("web", 'b', objects(&["ConfigMap", "Service", "Deployment", "Secret"], "2"));
        sim.send();
        for _ in 0..steps {
            if !sim.pending.is_empty() {
                sim.perform(0);
            }
        }
        sim.restart();
        sim.pass(Span::secs(30));
        assert_eq!(sim.phase("web"), Phase::Synced, "after {steps} answers");
        for name in ["ConfigMap", "Service", "Deployment", "Secret"] {
            assert_eq!(
                sim.world.objects[&key(name)].content,
                object(name, "2").content,
                "{name} after {steps}"
            );
        }
    }
}

#[test]
fn the_destination_namespace_is_made_before_and_found_again_after() {
    let mut sim = Sim::new();
    sim.world.needs_namespace = true;
    sim.entry("web", 'a', objects(&WEB, "1")).policy.create_namespace = true;
    sim.send();
    sim.pass(Span::secs(5));
    assert_eq!(sim.phase("web"), Phase::Synced);
    for name in ["ConfigMap", "Service", "Deployment", "Namespace/web"] {
        sim.world.delete(name);
    }
    sim.pass(Span::secs(60));
    assert!(sim.has("Namespace/web") && sim.has("Deployment"));
    assert_eq!(sim.phase("web"), Phase::Synced);
}

#[test]
fn what_an_older_run_hears_of_the_namespace_starts_nothing_in_the_next() {
    let mut sim = Sim::new();
    let mut late = Vec::new();
    for (letter, revision) in [('a', "1"), ('b', "2")] {
        sim.entry("web", letter, objects(&WEB, revision)).policy.create_namespace = true;
        sim.send();
        let (app, effect) = sim.hold_back(|effect| matches!(effect, Effect::EnsureNamespace { .. }));
        late.push(sim.world.perform(app, effect));
    }
    let newest = late.pop().unwrap();
    for older in late {
        sim.input(older);
    }
    assert!(sim.pending.is_empty(), "{:?}", sim.pending);
    sim.input(newest);
    sim.pass(Span::secs(30));
    assert_eq!(sim.phase("web"), Phase::Synced);
}

#[test]
fn what_was_edited_while_it_was_out_of_git_is_applied_when_it_comes_back() {
    let mut sim = Sim::new();
    let hands_off = |policy: &mut Policy| (policy.prune, policy.self_heal) = (false, false);
    for (letter, names) in
        [('a', &["ConfigMap", "Secret"][..]), ('b', &["ConfigMap"]), ('c', &["ConfigMap", "Secret"])]
    {
        hands_off(&mut sim.entry("web", letter, objects(names, "1")).policy);
        sim.send();
        sim.pass(Span::secs(30));
        if letter == 'b' {
            sim.world.edit("Secret", ".data.key", "kubectl-edit");
            sim.pass(Span::secs(30));
        }
    }
    assert!(sim.world.objects[&key("Secret")].taken.is_empty(), "{:?}", sim.world.objects);
}

#[test]
fn what_an_older_run_failed_at_is_no_failure_of_the_next() {
    let mut sim = Sim::new();
    sim.entry("web", 'a', objects(&["ConfigMap"], "1"));
    sim.send();
    let (app, effect) = sim.hold_back(|effect| matches!(effect, Effect::Apply { .. }));
    sim.world.failing.insert(("apply", key("ConfigMap")));
    let late = sim.world.perform(app, effect);
    sim.world.failing.clear();
    sim.entry("web", 'b', objects(&["ConfigMap"], "2"));
    sim.send();
    sim.run();
    sim.said();
    sim.input(late);
    sim.pass(Span::secs(30));
    assert_eq!(sim.said(), ["Synced Healthy"]);
}

#[test]
fn what_an_apply_changes_of_the_fields_that_are_ours_is_journalled() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap"], "1"));
    sim.world.edit("ConfigMap", ".data.mode", "kubectl-edit");
    sim.watch();
    let (asked, effect) = sim.pending.pop_front().unwrap();
    let Input::Applied { app, run, object, commit, outcome } = sim.world.perform(asked, effect) else {
        panic!("it is healed at once")
    };
    // The server's schema gives it one field more than before.
    let mut applied = outcome.unwrap();
    applied.fingerprint.owned += 1;
    sim.input(Input::Applied { app, run, object, commit, outcome: Ok(applied) });
    let (instance, stored) = (sim.agent.instance(&crate::given::app("fleet/web")).unwrap(), &sim.journal);
    assert_eq!(instance.items, stored.values().next().unwrap().items);
    assert_ne!(instance.items[&key("ConfigMap")].written, 1);
}

#[test]
fn two_apps_do_not_fight_over_one_object() {
    let mut sim = Sim::new();
    sim.entry("one", 'a', objects(&["ConfigMap"], "1"));
    sim.entry("two", 'a', objects(&["ConfigMap", "Secret"], "2"));
    sim.send();
    sim.pass(Span::secs(20));
    assert_eq!(sim.phase("one"), Phase::Synced);
    assert_eq!(sim.phase("two"), Phase::Failed);
    assert!(sim.message("two").contains("app fleet/one has this object already"), "{}", sim.message("two"));
    assert_eq!(sim.world.objects[&key("ConfigMap")].content, object("ConfigMap", "1").content);
    assert!(sim.has("Secret"));
}

#[test]
fn statuses_that_flap_are_folded_and_counted() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&WEB, "1"));
    sim.said();
    for round in 0..40 {
        let health = if round % 2 == 0 { Health::Degraded } else { Health::Healthy };
        sim.world.health.insert(key("Deployment"), (health, None));
        sim.world.touch("Deployment");
        sim.pass(Span(200));
    }
    sim.world.health.clear();
    sim.world.touch("Deployment");
    sim.pass(Span::secs(30));
    let stated = core::mem::take(&mut sim.facts);
    let flaps: u32 = stated
        .iter()
        .map(|event| match &event.fact {
            crate::event::AgentFact::InstanceChanged(status) => status.flaps,
            other => panic!("{other:?}"),
        })
        .sum();
    assert!(stated.len() <= 10, "{} events in 8 seconds", stated.len());
    assert!(flaps >= 2, "{flaps}");
    assert_eq!(sim.agent.instance(&app("web")).unwrap().stated.as_ref().unwrap().health, Health::Healthy);
}

#[test]
fn every_fact_carries_app_commit_and_the_time_of_the_step() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&WEB, "1"));
    for event in sim.facts.iter().skip(1) {
        assert_eq!(event.context.app, Some(app("web")));
        assert_eq!(event.context.commit, Some(commit('a')));
    }
    let stated = sim.agent.instance(&app("web")).unwrap().stated.clone().unwrap();
    assert_eq!((stated.since, stated.objects), (Mark { epoch: 1, generation: 1 }, 3));
}

#[test]
fn a_restart_waits_for_the_watches_and_writes_nothing_that_they_show_undisturbed() {
    let mut sim = Sim::new();
    let many: Vec<String> = (0..50).map(|n| format!("ConfigMap/c{n}")).collect();
    sim.deliver("web", 'a', many.iter().map(|name| object(name, "1")).collect());
    sim.world.delete("ConfigMap/c7");
    sim.world.edit("ConfigMap/c8", ".data.mode", "kubectl-edit");
    sim.applied();
    sim.restart();
    let shown = core::mem::take(&mut sim.world.shown);
    sim.pass(Span::secs(20));
    assert_eq!(sim.applied(), [""; 0], "nothing is known yet");
    sim.world.shown = shown;
    sim.pass(Span::secs(5));
    assert_eq!(sim.applied(), ["ConfigMap web/c7", "ConfigMap web/c8"]);
    assert_eq!(sim.phase("web"), Phase::Synced);
}

#[test]
fn a_restart_does_not_wait_for_ever_for_watches_that_show_nothing() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&WEB, "1"));
    sim.applied();
    sim.restart();
    sim.world.shown.clear();
    sim.pass(Span::secs(40));
    assert_eq!(sim.applied().len(), 3, "applied without a look, which changes nothing");
    assert_eq!(sim.phase("web"), Phase::Synced);
}

#[test]
fn a_content_that_comes_back_is_applied_although_the_answer_to_the_one_between_was_lost() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap"], "1"));
    sim.entry("web", 'b', objects(&["ConfigMap"], "2"));
    sim.send();
    let (asked, effect) = sim.hold_back(|effect| matches!(effect, Effect::Apply { .. }));
    sim.world.perform(asked, effect);
    sim.restart();
    sim.deliver("web", 'c', objects(&["ConfigMap"], "1"));
    assert_eq!(sim.world.objects[&key("ConfigMap")].content, object("ConfigMap", "1").content);
    assert_eq!(sim.phase("web"), Phase::Synced);
}

#[test]
fn a_content_that_comes_back_is_applied_although_an_older_apply_of_it_was_answered_late() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap"], "1"));
    sim.entry("web", 'b', objects(&["ConfigMap"], "2"));
    sim.send();
    sim.perform(0);
    sim.entry("web", 'c', objects(&["ConfigMap"], "3"));
    sim.send();
    sim.perform(1);
    sim.perform(0);
    let (asked, effect) = sim.pending.pop_front().unwrap();
    let Input::Applied { app, run, object: third, commit, .. } = sim.world.perform(asked, effect) else {
        panic!("the third content is applied once the second one is answered")
    };
    let outcome = Err(Problem { cause: None, message: "no answer".into() });
    sim.input(Input::Applied { app, run, object: third, commit, outcome });
    sim.world.shown.clear(); // the same fields are ours, so that no watch tells
    sim.deliver("web", 'd', objects(&["ConfigMap"], "2"));
    assert_eq!(sim.world.objects[&key("ConfigMap")].content, object("ConfigMap", "2").content);
}

#[test]
fn an_object_that_is_deleted_before_its_apply_is_answered_is_made_again_although_the_watch_listed_anew() {
    let mut sim = Sim::new();
    sim.entry("web", 'a', objects(&["ConfigMap", "Secret"], "1"));
    sim.send();
    let config_map = |(_, effect): &(_, Effect)| matches!(effect, Effect::Apply { object, .. } if object.key == key("ConfigMap"));
    while !sim.pending.iter().any(config_map) {
        sim.perform(0);
    }
    let place = sim.pending.iter().position(config_map).unwrap();
    let (asked, effect) = sim.pending.remove(place).unwrap();
    sim.watch();
    let late = sim.world.perform(asked, effect);
    sim.world.shown.clear(); // the watch broke, and nobody tells of the object
    sim.world.objects.remove(&key("ConfigMap"));
    sim.world.list(&(String::new(), "v1".to_string(), "ConfigMap".to_string()));
    sim.watch();
    sim.input(late);
    sim.pass(Span::secs(30));
    assert!(sim.has("ConfigMap"));
}
