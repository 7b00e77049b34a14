//! Which indexes are taken (table in design, section 9).

use super::model::*;
use crate::desired::{Index, Mark, Permit, Withdrawal};
use crate::event::agent::Refusal;
use crate::event::{AgentEvent, AgentFact};
use crate::health::Health;
use crate::node::agent::{Agent, Held, Input, Outputs};
use crate::sync::Limits;
use crate::time::{At, Span};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

fn mark(epoch: u64, generation: u64) -> Mark {
    Mark { epoch, generation }
}

fn permitted(agent: &mut Agent, mark: Mark, text: &str, permit: Permit, at: u64) -> Outputs {
    let index = Index { mark, entries: BTreeMap::new() };
    agent.step(Input::Index { index, digest: digest(text), permit }, At(at))
}

fn give(agent: &mut Agent, mark: Mark, text: &str, at: u64) -> Outputs {
    permitted(agent, mark, text, Permit::None, at)
}

/// An agent that took the index 1.5.
fn agent() -> Agent {
    let mut agent = Agent::new(Held::default(), BTreeMap::new(), Limits::default());
    assert!(give(&mut agent, mark(1, 5), "five", 0).took_index, "the first is taken");
    agent
}

fn refusals(facts: &[AgentEvent]) -> Vec<(Mark, Refusal)> {
    let refusal = |event: &AgentEvent| match event.fact {
        AgentFact::IndexRefused { mark, reason } => Some((mark, reason)),
        _ => None,
    };
    facts.iter().filter_map(refusal).collect()
}

/// What an index leads to: taken, kept to wait, refused, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Taken,
    Kept,
    Refused(Refusal),
    Nothing,
}

fn done(out: &Outputs) -> Done {
    match (out.took_index, out.kept_index, refusals(&out.facts).as_slice()) {
        (true, false, []) => Done::Taken,
        (false, true, []) => Done::Kept,
        (false, false, [(_, reason)]) => Done::Refused(*reason),
        (false, false, []) => Done::Nothing,
        _ => panic!("{out:?}"),
    }
}

#[test]
fn an_index_is_taken_kept_or_refused_by_the_table() {
    use Permit::{Adopted, Failover, None as No, Restore};
    use Refusal::{Equivocation, Lower, NoCheckpoint, NoGrant};
    let cases = [
        (mark(1, 5), "five", No, Done::Nothing),
        (mark(1, 5), "other", No, Done::Refused(Equivocation)),
        (mark(1, 4), "four", No, Done::Refused(Lower)),
        (mark(1, 6), "six", No, Done::Taken),
        (mark(1, 9), "nine", No, Done::Taken),
        (mark(0, 9), "old epoch", No, Done::Refused(Lower)),
        (mark(2, 1), "another epoch", No, Done::Refused(NoGrant)),
        (mark(2, 1), "another hub", Failover, Done::Refused(NoCheckpoint)),
        (mark(2, 1), "restored", Restore, Done::Kept),
        (mark(2, 1), "adopted", Adopted, Done::Taken),
        // A grant does not make an index of its own epoch, or a lower one, any better.
        (mark(1, 5), "other", Restore, Done::Refused(Equivocation)),
        (mark(1, 4), "four", Adopted, Done::Refused(Lower)),
    ];
    for (given, text, permit, expected) in cases {
        let out = permitted(&mut agent(), given, text, permit, 1);
        assert_eq!(done(&out), expected, "{given} {permit:?}");
        let shows = matches!(expected, Done::Refused(Lower) | Done::Kept);
        assert_eq!(out.prove, shows, "{given} {permit:?}: a hub that is behind is shown what it signed");
    }
}

#[test]
fn an_agent_that_holds_nothing_shows_that_to_a_restored_hub_before_it_takes_its_index() {
    let mut agent = Agent::new(Held::default(), BTreeMap::new(), Limits::default());
    let out = permitted(&mut agent, mark(2, 1), "restored", Permit::Restore, 1);
    assert_eq!((done(&out), out.prove), (Done::Kept, true), "the hub changes nothing before it was heard");
    let out = permitted(&mut agent, mark(2, 2), "adopted", Permit::Adopted, 2);
    assert_eq!((done(&out), agent.waiting()), (Done::Taken, None));
}

#[test]
fn while_an_index_waits_others_are_judged_against_it() {
    use Permit::{Adopted, None as No, Restore};
    use Refusal::{Equivocation, Lower, NoGrant};
    let cases = [
        (mark(2, 3), "three", Restore, Done::Nothing),
        (mark(2, 3), "other", Restore, Done::Refused(Equivocation)),
        (mark(2, 2), "two", Restore, Done::Refused(Lower)),
        (mark(1, 9), "of the lost log", No, Done::Refused(Lower)),
        (mark(2, 4), "four", Restore, Done::Kept),
        (mark(2, 4), "four", No, Done::Refused(NoGrant)),
        (mark(2, 4), "four", Adopted, Done::Taken),
        (mark(3, 1), "restored again", Restore, Done::Kept),
    ];
    for (given, text, permit, expected) in cases {
        let mut agent = agent();
        assert_eq!(done(&permitted(&mut agent, mark(2, 3), "three", Restore, 1)), Done::Kept);
        assert_eq!(agent.held().mark, mark(1, 5), "the one in force stays");
        assert_eq!(done(&permitted(&mut agent, given, text, permit, 2)), expected, "{given} {permit:?}");
        let waits = agent.waiting().map(|held| held.mark);
        assert_eq!(waits.is_none(), expected == Done::Taken, "{given}");
    }
}

#[test]
fn a_lower_index_is_answered_with_a_proof_once_per_mark_and_not_at_any_rate() {
    let mut agent = agent();
    let mut proofs = 0;
    for second in 0..60 {
        for generation in 0..5 {
            let lower = mark(1, generation);
            proofs += u32::from(give(&mut agent, lower, "lower", second * 1_000 + generation).prove);
        }
    }
    assert!((1..=7).contains(&proofs), "{proofs} proofs in a minute");
}

#[test]
fn after_two_indexes_of_one_mark_no_change_is_taken_until_a_higher_epoch() {
    let mut agent = agent();
    assert_eq!(give(&mut agent, mark(1, 5), "other", 1).stopped, Some(1));
    assert_eq!(done(&give(&mut agent, mark(1, 6), "six", 2)), Done::Nothing);
    // A new process over the same journal knows it too.
    let mut agent =
        Agent::new(agent.held().clone(), BTreeMap::new(), Limits::default()).resuming(None, Some(1));
    assert_eq!(done(&give(&mut agent, mark(1, 7), "seven", 3)), Done::Nothing);
    assert_eq!(agent.held().mark, mark(1, 5));
    assert_eq!(done(&permitted(&mut agent, mark(2, 1), "restored", Permit::Restore, 4)), Done::Kept);
    assert_eq!(done(&permitted(&mut agent, mark(2, 2), "adopted", Permit::Adopted, 5)), Done::Taken);
    assert_eq!(done(&give(&mut agent, mark(2, 3), "next", 6)), Done::Taken);
}

#[test]
fn the_mark_in_the_cluster_holds_where_the_journal_was_lost() {
    let held = Held { index: None, mark: mark(3, 7), digest: None };
    for (given, refused) in [
        (mark(3, 6), Some(Refusal::Lower)),
        (mark(2, 9), Some(Refusal::Lower)),
        (mark(4, 1), Some(Refusal::NoGrant)),
        (mark(3, 7), None),
        (mark(3, 8), None),
    ] {
        let mut agent = Agent::new(held.clone(), BTreeMap::new(), Limits::default());
        let out = give(&mut agent, given, "index", 0);
        assert_eq!(
            (out.took_index, refusals(&out.facts).len()),
            (refused.is_none(), usize::from(refused.is_some()))
        );
        assert_eq!(refusals(&out.facts).first().map(|(_, reason)| *reason), refused);
    }
}

#[test]
fn a_flood_of_bad_indexes_makes_few_events() {
    let mut agent = Agent::new(Held::default(), BTreeMap::new(), Limits::default());
    let mut facts = Vec::new();
    for second in 0..60 {
        for n in 0..50 {
            let (mark, reason) = (mark(1, second * 50 + n), Refusal::BadSignature);
            facts.extend(agent.step(Input::BadIndex { mark, reason }, At(second * 1_000 + n)).facts);
        }
    }
    assert!((1..=7).contains(&facts.len()), "{} events in a minute", facts.len());
    let other = agent.step(Input::BadIndex { mark: mark(1, 1), reason: Refusal::OtherCluster }, At(60_000));
    assert_eq!(
        refusals(&other.facts),
        [(mark(1, 1), Refusal::OtherCluster)],
        "another reason is another fact"
    );
}

#[test]
fn an_older_index_changes_nothing_that_runs() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap"], "1"));
    let old = sim.index.clone();
    sim.deliver("web", 'b', objects(&["ConfigMap"], "2"));
    sim.applied();
    sim.said();
    sim.input(Input::Index { index: old, digest: digest("again"), permit: Permit::None });
    sim.pass(Span::secs(10));
    assert_eq!((sim.applied(), sim.said()), (Vec::new(), Vec::from(["IndexRefused".into()])));
}

#[test]
fn the_agent_goes_on_healing_to_the_last_index_after_a_restart_without_the_hub() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap"], "1"));
    sim.restart();
    sim.pass(Span::secs(5));
    sim.world.edit("ConfigMap", ".data.mode", "kubectl-edit");
    sim.pass(Span::secs(5));
    assert!(sim.world.objects[&key("ConfigMap")].taken.is_empty());
}

/// A hub that lives on from a backup sends what its log knows: an older revision, and not every app.
fn restored(sim: &mut Sim, permit: Permit, generation: u64) {
    sim.index.mark = mark(2, generation);
    sim.give(permit);
    sim.pass(Span::secs(30));
}

#[test]
fn a_restored_hub_rolls_nothing_back_before_it_has_adopted_the_cluster() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap"], "1"));
    let backup = sim.index.clone();
    sim.deliver("web", 'b', objects(&["ConfigMap", "Service"], "2"));
    sim.deliver("api", 'b', objects(&["Secret"], "1"));
    let (running, before) = (sim.index.clone(), sim.world.objects.clone());
    sim.applied();
    sim.said();

    sim.index = backup;
    restored(&mut sim, Permit::Restore, 2);
    assert_eq!((sim.applied(), sim.said(), sim.proofs), (Vec::new(), Vec::new(), 1));
    assert_eq!(sim.world.objects, before, "nothing is changed and nothing deleted");
    assert_eq!(sim.agent.held().mark, running.mark, "what is in force is what it showed");

    // It goes on healing to what it runs, and knows that it waits when it is started again.
    sim.world.edit("ConfigMap", ".data.mode", "kubectl-edit");
    sim.pass(Span::secs(5));
    assert!(sim.world.objects[&key("ConfigMap")].taken.is_empty());
    sim.restart();
    assert_eq!(sim.proofs, 2, "and shows again what it holds");
    sim.pass(Span::secs(30));
    assert_eq!(sim.world.objects.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert_eq!(sim.agent.instance(&app("web")).unwrap().entry.commit, commit('b'));

    // The hub has logged what it holds: the index is what runs, and is taken.
    sim.said();
    sim.index = running;
    restored(&mut sim, Permit::Adopted, 3);
    assert_eq!(sim.said(), ["Synced Healthy", "Synced Healthy"], "every state is stated anew");
    assert_eq!(sim.world.objects.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    sim.entry("web", 'c', objects(&["ConfigMap"], "3"));
    sim.index.entries.get_mut(&app("web")).unwrap().policy.max_deletes = crate::catalog::MaxDeletes::Count(5);
    sim.send();
    sim.pass(Span::secs(30));
    assert!(!sim.has("Service"), "and the next one may delete again");
}

#[test]
fn a_removal_that_was_confirmed_to_a_lost_log_is_confirmed_to_the_one_that_adopts() {
    let mut sim = Sim::new();
    sim.deliver("old", 'a', objects(&["Secret"], "1"));
    sim.change("old", |entry| entry.withdrawn = Some(Withdrawal::Cascade));
    sim.pass(Span::secs(10));
    assert_eq!((sim.step_of("old"), sim.said().iter().any(|said| said == "Withdrawn")), (None, true));
    let held = sim.index.clone();
    restored(&mut sim, Permit::Restore, 2);
    assert_eq!(sim.said(), [""; 0]);
    sim.index = held;
    restored(&mut sim, Permit::Adopted, 3);
    assert_eq!(sim.said(), ["Withdrawn"]);
    assert_eq!(sim.step_of("old"), None);
}

#[test]
fn a_prune_and_a_withdrawal_that_are_under_way_wait_for_the_adoption() {
    let mut sim = Sim::new();
    sim.deliver("web", 'a', objects(&["ConfigMap", "Service", "Secret"], "1"));
    sim.deliver("old", 'a', objects(&["ServiceAccount"], "1"));
    sim.world.failing.insert(("delete", key("ServiceAccount")));
    sim.change("old", |entry| entry.withdrawn = Some(Withdrawal::Cascade));
    // The new state of web is not healthy yet, so nothing of it is deleted yet.
    sim.world.health.insert(key("Deployment"), (Health::Progressing, None));
    sim.entry("web", 'b', objects(&["ConfigMap", "Deployment"], "2"));
    sim.send();
    sim.pass(Span::secs(5));
    let in_force = sim.index.clone();
    restored(&mut sim, Permit::Restore, 9);
    sim.world.health.remove(&key("Deployment"));
    sim.world.touch("Deployment");
    sim.world.failing.clear();
    sim.pass(Span::secs(600));
    assert!(sim.has("Service") && sim.has("Secret"), "healthy now, and nothing is deleted");
    assert!(sim.has("ServiceAccount"), "it could be deleted now, and is not");
    sim.index = in_force;
    restored(&mut sim, Permit::Adopted, 10);
    assert!(!sim.has("Service") && !sim.has("Secret") && !sim.has("ServiceAccount"));
    assert_eq!((sim.phase("web"), sim.step_of("old")), (crate::event::agent::Phase::Synced, None));
}

proptest::proptest! {
    /// Whatever comes in whatever order, and however often the agent is started again.
    #[test]
    fn what_is_in_force_never_goes_back_and_a_higher_epoch_needs_its_adoption(
        given in proptest::collection::vec((0..4u64, 0..6u64, 0..2u8, 0..4u8, proptest::bool::weighted(0.1)), 1..60)
    ) {
        let mut agent = Agent::new(Held::default(), BTreeMap::new(), Limits::default());
        let mut stopped = None;
        for (at, (epoch, generation, content, permit, restart)) in given.into_iter().enumerate() {
            if restart {
                let held = (agent.held().clone(), agent.waiting().cloned());
                agent = Agent::new(held.0, BTreeMap::new(), Limits::default()).resuming(held.1, stopped);
            }
            let permit = [Permit::None, Permit::Failover, Permit::Restore, Permit::Adopted][usize::from(permit)];
            let (force, waits) = (agent.held().mark, agent.waiting().map(|held| held.mark));
            let given = mark(epoch, generation);
            let text = alloc::format!("{given} {content}");
            let out = permitted(&mut agent, given, &text, permit, at as u64 * 20_000);
            let first = force == Mark::default();
            proptest::prop_assert!(!(out.took_index && out.kept_index));
            if out.took_index {
                proptest::prop_assert!(given > force && waits.is_none_or(|waits| given > waits) || first);
                proptest::prop_assert!(first || given.epoch == force.epoch || permit == Permit::Adopted);
                proptest::prop_assert!(agent.waiting().is_none());
            } else {
                proptest::prop_assert_eq!(agent.held().mark, force);
            }
            if out.kept_index {
                proptest::prop_assert!(given.epoch > force.epoch && permit == Permit::Restore);
            }
            if let Some(epoch) = stopped {
                proptest::prop_assert!(given.epoch > epoch || !(out.took_index || out.kept_index));
            }
            stopped = out.stopped.or(stopped);
        }
    }
}
