//! Which indexes are taken (table in design, section 9).

use super::model::*;
use crate::desired::{Index, Mark};
use crate::event::agent::Refusal;
use crate::event::{AgentEvent, AgentFact};
use crate::node::agent::{Agent, Held, Input, Outputs};
use crate::sync::Limits;
use crate::time::{At, Span};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

fn mark(epoch: u64, generation: u64) -> Mark {
    Mark { epoch, generation }
}

fn give(agent: &mut Agent, mark: Mark, text: &str, at: u64) -> Outputs {
    let index = Index { mark, entries: BTreeMap::new() };
    agent.step(Input::Index { index, digest: digest(text) }, At(at))
}

fn refusals(facts: &[AgentEvent]) -> Vec<(Mark, Refusal)> {
    let refusal = |event: &AgentEvent| match event.fact {
        AgentFact::IndexRefused { mark, reason } => Some((mark, reason)),
        _ => None,
    };
    facts.iter().filter_map(refusal).collect()
}

#[test]
fn an_index_is_taken_or_refused_by_the_table() {
    let cases = [
        (mark(1, 5), "five", None, false),
        (mark(1, 5), "other", Some(Refusal::Equivocation), false),
        (mark(1, 4), "four", Some(Refusal::Lower), false),
        (mark(1, 6), "six", None, true),
        (mark(1, 9), "nine", None, true),
        (mark(2, 1), "restored", Some(Refusal::NoGrant), false),
        (mark(0, 9), "old epoch", Some(Refusal::Lower), false),
    ];
    for (given, text, refused, taken) in cases {
        let mut agent = Agent::new(Held::default(), BTreeMap::new(), Limits::default());
        assert!(give(&mut agent, mark(1, 5), "five", 0).took_index, "the first is taken");
        let out = give(&mut agent, given, text, 1);
        assert_eq!(out.took_index, taken, "{given}");
        assert_eq!(
            refusals(&out.facts),
            refused.map(|reason| (given, reason)).into_iter().collect::<Vec<_>>()
        );
    }
}

#[test]
fn after_two_indexes_of_one_mark_no_change_is_taken_any_more() {
    let mut agent = Agent::new(Held::default(), BTreeMap::new(), Limits::default());
    give(&mut agent, mark(1, 5), "five", 0);
    give(&mut agent, mark(1, 5), "other", 1);
    assert!(!give(&mut agent, mark(1, 6), "six", 2).took_index);
    assert_eq!(agent.held().mark, mark(1, 5));
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
    sim.input(Input::Index { index: old, digest: digest("again") });
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
