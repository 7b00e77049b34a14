//! A cluster that is restored from a backup, and a journal that is lost: what the inventory in the cluster still knows.

use super::model::*;
use crate::catalog::MaxDeletes;
use crate::event::AgentFact;
use crate::event::agent::{Journal, Phase};
use crate::node::agent::{Agent, Input};
use crate::object::Key;
use crate::sync::{Limits, Object};
use crate::time::Span;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// One backup, one commit after it: an object changed, one came, one left, one stayed as it was.
fn after_one_more_commit() -> (Sim, World) {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap/changes", "ConfigMap/leaves", "Deployment"], "1"));
    let backup = sim.world.backup();
    sim.deliver("web", 'b', second());
    assert_eq!(sim.phase("web"), Phase::Synced);
    sim.applied();
    sim.said();
    sim.world.deletes.clear();
    (sim, backup)
}

fn second() -> Vec<Object> {
    let comes = objects(&["ConfigMap/comes", "Deployment"], "1");
    objects(&["ConfigMap/changes"], "2").into_iter().chain(comes).collect()
}

fn is_as_git_says(sim: &Sim, wanted: &[Object]) {
    let live = sim.world.objects.iter().map(|(key, live)| (key.clone(), live.content));
    let wanted = wanted.iter().map(|object| (object.key.clone(), object.content));
    assert_eq!(live.collect::<BTreeMap<_, _>>(), wanted.collect());
    let members: BTreeSet<Key> = sim.world.objects.keys().cloned().collect();
    assert_eq!(sim.world.inventory[&app("web")], members);
}

fn count(said: &[String], kind: &str) -> usize {
    said.iter().filter(|said| *said == kind).count()
}

#[test]
fn a_restored_cluster_is_brought_back_to_what_git_says_and_what_was_the_same_is_not_written() {
    let (mut sim, backup) = after_one_more_commit();
    sim.restore(backup);
    sim.pass(Span::secs(30));
    is_as_git_says(&sim, &second());
    assert_eq!(sim.applied(), ["ConfigMap web/changes", "ConfigMap web/comes"].map(String::from));
    assert_eq!(sim.world.deletes, [key("ConfigMap/leaves")]);
    let said = sim.said();
    assert_eq!(count(&said, "ClusterWentBack"), 1, "{said:?}");
    assert_eq!((count(&said, "DriftBegun"), count(&said, "DriftHealed")), (2, 2), "{said:?}");
    assert_eq!(count(&said, "Pruned"), 1, "{said:?}");
    assert_eq!(sim.phase("web"), Phase::Synced);
    sim.pass(Span::secs(2_000));
    assert_eq!((sim.applied(), sim.said()), (Vec::new(), Vec::new()), "and then it rests");
}

#[test]
fn a_cluster_that_was_restored_while_its_agent_was_away_is_noticed_by_what_was_written() {
    let (mut sim, backup) = after_one_more_commit();
    sim.restore(backup);
    sim.restart();
    sim.pass(Span::secs(60));
    is_as_git_says(&sim, &second());
    assert_eq!(sim.applied(), ["ConfigMap web/changes", "ConfigMap web/comes"].map(String::from));
    let said = sim.said();
    assert_eq!(count(&said, "ClusterWentBack"), 1, "{said:?}");
    assert_eq!(count(&said, "Pruned"), 1, "{said:?}");
    sim.restart();
    sim.pass(Span::secs(60));
    assert_eq!(count(&sim.said(), "ClusterWentBack"), 0, "it is told once");
    assert_eq!(sim.applied(), Vec::<String>::new());
}

#[test]
fn an_inventory_out_of_a_backup_is_read_before_it_is_written() {
    let (mut sim, backup) = after_one_more_commit();
    sim.restore(backup);
    // No watch has told of it when the next commit comes.
    sim.world.shown.clear();
    let third: Vec<Object> = second().into_iter().chain(objects(&["Service"], "1")).collect();
    sim.deliver("web", 'c', third.clone());
    sim.pass(Span::secs(30));
    assert!(sim.world.deletes.contains(&key("ConfigMap/leaves")), "it is in the backup's inventory alone");
    assert!(sim.world.inventory[&app("web")].contains(&key("Service")));
    assert_eq!(sim.phase("web"), Phase::Synced);
}

#[test]
fn what_left_the_inventory_is_looked_for_after_a_restore_although_the_inventory_does_not_name_it() {
    let (mut sim, backup) = after_one_more_commit();
    let written = sim.world.inventory.clone();
    sim.restore(backup);
    // A write that was on its way when the cluster was restored.
    sim.world.inventory = written;
    sim.pass(Span::secs(30));
    is_as_git_says(&sim, &second());
}

#[test]
fn what_the_backup_has_of_a_bundle_that_a_guard_holds_is_found_again_with_the_next() {
    let (mut sim, backup) = after_one_more_commit();
    sim.restore(backup);
    let held = objects(&["ConfigMap/leaves"], "1");
    sim.entry("web", 'c', held).policy.max_deletes = MaxDeletes::Count(0);
    sim.send();
    sim.pass(Span::secs(30));
    assert_eq!(sim.phase("web"), Phase::Parked);
    sim.deliver("web", 'd', second());
    is_as_git_says(&sim, &second());
    assert_eq!(sim.phase("web"), Phase::Synced);
}

#[test]
fn an_app_that_is_not_healed_is_told_to_differ_after_a_restore_and_is_left_alone() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap/changes"], "1"));
    let backup = sim.world.backup();
    sim.entry("web", 'b', objects(&["ConfigMap/changes"], "2")).policy.self_heal = false;
    sim.send();
    sim.pass(Span::secs(30));
    sim.applied();
    sim.restore(backup);
    sim.pass(Span::secs(30));
    assert_eq!((sim.phase("web"), sim.applied()), (Phase::OutOfSync, Vec::new()));
    let told = sim.facts.iter().find_map(|event| match &event.fact {
        AgentFact::DriftBegun { object, fields, gone, .. } => Some((object.clone(), fields.len(), *gone)),
        _ => None,
    });
    assert_eq!(told, Some((key("ConfigMap/changes"), 0, false)));
}

#[test]
fn what_a_backup_brings_back_is_deleted_under_the_guards_alone() {
    let names: Vec<String> = (0..10).map(|n| format!("ConfigMap/c{n}")).collect();
    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut sim = Sim::new();
    let mut all = objects(&texts, "1");
    all.extend(objects(&["Namespace/web"], "1"));
    all.push(Object { keep: true, ..object("Secret", "1") });
    sim.deliver("web", 'a', all);
    let backup = sim.world.backup();
    for key in texts.iter().skip(4).map(|text| key(text)).chain([key("Namespace/web"), key("Secret")]) {
        // Gone past the agent's guards, as by an approval that was for another bundle.
        sim.world.objects.remove(&key);
        sim.journal.get_mut(&app("web")).unwrap().items.remove(&key);
    }
    sim.world.inventory.insert(app("web"), texts.iter().take(4).map(|text| key(text)).collect());
    sim.entry("web", 'b', objects(&texts[..4], "1"));
    sim.index.mark.generation += 1;
    sim.held.index = Some(sim.index.clone());
    sim.held.mark = sim.index.mark;
    sim.restart();
    sim.pass(Span::secs(60));
    assert_eq!((sim.phase("web"), sim.world.objects.len()), (Phase::Synced, 4));

    sim.restore(backup);
    sim.pass(Span::secs(60));
    assert_eq!(sim.phase("web"), Phase::Parked, "six of them are too many: {}", sim.message("web"));
    assert_eq!(sim.world.deletes, []);
    let bundle = sim.index.entries[&app("web")].digest;
    sim.change("web", |entry| entry.approved = Some(bundle));
    sim.pass(Span::secs(60));
    let stays = [key("Secret")];
    let left: Vec<Key> = sim.world.objects.keys().filter(|key| key.kind != "ConfigMap").cloned().collect();
    assert_eq!((left, sim.world.objects.len()), (stays.to_vec(), 5), "what is to be kept stays");
}

#[test]
fn an_agent_that_lost_its_journal_deletes_what_left_git_meanwhile_and_nothing_that_somebody_made() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap/stays", "ConfigMap/leaves", "ConfigMap/theirs"], "1"));
    sim.world.delete("ConfigMap/theirs");
    sim.world.make("ConfigMap/theirs");
    sim.journal.clear();
    sim.agent = Agent::new(sim.held.clone(), BTreeMap::new(), Limits::default());
    sim.pending.clear();
    sim.watched.clear();
    sim.world.shown.clear();
    sim.entry("web", 'b', objects(&["ConfigMap/stays"], "1"));
    sim.index.mark.generation += 1;
    sim.held.index = Some(sim.index.clone());
    sim.agent = Agent::new(sim.held.clone(), BTreeMap::new(), Limits::default());
    let (version, kubernetes) = ("1".into(), "1.35".into());
    sim.input(Input::Started { version, kubernetes, journal: Journal::New });
    sim.pass(Span::secs(60));
    assert_eq!(sim.world.deletes, [key("ConfigMap/leaves")]);
    assert!(sim.has("ConfigMap/theirs") && sim.has("ConfigMap/stays"));
    assert_eq!(sim.phase("web").to_string(), "Synced");
}
