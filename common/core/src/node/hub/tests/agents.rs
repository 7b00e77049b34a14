//! Events byte for byte, heartbeats that change nothing, and what is known of an agent under its names.

use super::model::*;
use crate::cluster::{self};
use crate::desired::Mark;
use crate::event::agent::Phase;
use crate::event::{Actor, AgentEvent, AgentFact, Context};
use crate::given::{account, app, batch, chain, cluster as named, link};
use crate::node::hub::{Append, Command, Reply};
use crate::time::{At, Span};
use alloc::vec::Vec;

const FIRST: Mark = Mark { epoch: 1, generation: 1 };

fn unreadable(count: usize) -> Vec<Option<AgentEvent>> {
    (0..count).map(|_| None).collect()
}

#[test]
fn events_are_stored_byte_for_byte_and_each_once() {
    let mut sim = delivered();
    let from = sim.log.len();
    assert_eq!(
        sim.send('B', batch(1, 1..4), unreadable(3)),
        Reply::Receipt { chain: chain(1, 3), mark: FIRST }
    );
    let links: Vec<_> = sim.log[from..]
        .iter()
        .map(|append| match append {
            Append::Foreign(foreign) => (foreign.cluster.clone(), foreign.link.clone()),
            Append::Own(event) => panic!("{event:?}"),
        })
        .collect();
    assert_eq!(links, (1..4).map(|seq| (named("prod"), link(1, seq))).collect::<Vec<_>>());
    // The same again, and a batch that overlaps: the same receipt, nothing doubled.
    assert_eq!(
        sim.send('B', batch(1, 1..4), unreadable(3)),
        Reply::Receipt { chain: chain(1, 3), mark: FIRST }
    );
    assert_eq!(
        sim.send('B', batch(1, 2..5), unreadable(3)),
        Reply::Receipt { chain: chain(1, 4), mark: FIRST }
    );
    assert_eq!(sim.log.len() - from, 4);
    assert_eq!(sim.send('B', batch(1, [7]), unreadable(1)), Reply::Gap { chain: chain(1, 4) });
    assert_eq!(sim.log.len() - from, 4);
}

#[test]
fn a_heartbeat_is_no_event_whatever_it_claims() {
    let mut sim = delivered();
    sim.send('B', batch(1, 1..3), unreadable(2));
    let from = sim.log.len();
    assert_eq!(sim.heartbeat('B', 1), Reply::Receipt { chain: chain(1, 2), mark: FIRST });
    assert_eq!(sim.heartbeat('B', 2), Reply::Receipt { chain: chain(2, 0), mark: FIRST });
    assert_eq!(sim.log.len(), from);
    assert_eq!(
        sim.send('B', batch(1, [3]), unreadable(1)),
        Reply::Receipt { chain: chain(1, 3), mark: FIRST },
        "without an event of it there is no newer incarnation"
    );
    sim.send('B', batch(2, [1]), unreadable(1));
    assert!(matches!(sim.heartbeat('B', 1), Reply::Refused { .. }), "now there is");
}

#[test]
fn a_cluster_that_never_joined_is_not_silent_and_one_that_joins_again_can_be() {
    let mut sim = Sim::new();
    sim.invite("prod", 1);
    sim.pass(Span::secs(100));
    assert!(!sim.kinds(0).contains(&"ClusterSilent"));
    sim.join(1, 'B');
    sim.order(Command::Cluster(cluster::Command::Remove(named("prod"))));
    sim.pass(Span::secs(100));
    assert_eq!(sim.hub.heard_at(&named("prod")), None);
    sim.invite("prod", 2);
    sim.join(2, 'C');
    let from = sim.log.len();
    sim.pass(Span::secs(100));
    assert_eq!(sim.kinds(from), ["ClusterSilent"]);
}

#[test]
fn a_cluster_keeps_what_was_heard_of_it_when_it_is_renamed() {
    let mut sim = Sim::new();
    sim.invite("prod", 1);
    sim.join(1, 'B');
    sim.pass(Span::secs(20));
    sim.heartbeat('B', 1);
    let heard = sim.hub.heard_at(&named("prod"));
    let (from, to) = (named("prod"), named("live"));
    sim.order(Command::Cluster(cluster::Command::Rename { from, to, root_in_git: false }));
    assert_eq!((sim.hub.heard_at(&named("live")), heard.is_some()), (heard, true));
    let from = sim.log.len();
    sim.pass(Span::secs(29));
    assert_eq!(sim.kinds(from), [""; 0]);
    sim.pass(Span::secs(40));
    assert_eq!(sim.kinds(from), ["ClusterSilent"]);
}

#[test]
fn reports_are_kept_with_the_time_of_the_hub() {
    let mut sim = delivered();
    sim.now = sim.now.plus(Span::secs(7));
    sim.report('B', &app("fleet/web"), Phase::Synced);
    let report = &sim.hub.state().planner.fleet[&named("prod")].reports[&app("fleet/web")];
    assert_eq!((report.at, report.status.phase), (sim.now, Phase::Synced));
}

#[test]
fn what_an_agent_says_of_itself_is_known_after_its_start() {
    let mut sim = delivered();
    let fact = AgentFact::Started {
        version: "9".into(),
        kubernetes: "1.36".into(),
        journal: crate::event::agent::Journal::New,
    };
    let event = AgentEvent { context: Context::new(Actor::Agent, At(1)), fact };
    sim.send('B', batch(1, [1]), Vec::from([Some(event)]));
    let enrolment = sim.hub.state().clusters.by_account(&account('B')).unwrap().2;
    assert_eq!((enrolment.agent_version.as_str(), enrolment.kubernetes_version.as_str()), ("9", "1.36"));
}
