//! Given, when, then: inviting, joining, renaming, and taking events in order.

use super::*;
use crate::event::{HubEvent, HubFact};
use crate::given::{about, account, batch, chain, cluster, digest, join_request, labels, link, person};
use crate::id::ClusterName;
use crate::invariant;
use crate::time::At;
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;
use proptest::prelude::*;

fn evolved(state: &mut State, events: &[HubEvent]) {
    for event in events {
        evolve(state, event);
        invariant::fleet(state).unwrap();
    }
}

fn invite(name: &str, token: u8, expires_at: u64) -> Command {
    let (labels, token) = (labels(&[("env", "prod")]), digest(token));
    Command::Invite { cluster: cluster(name), labels, token, expires_at: At(expires_at) }
}

fn order(state: &mut State, command: &Command) -> Result<usize, Rejected> {
    let events = decide(state, command, &person(), At(10))?;
    evolved(state, &events);
    Ok(events.len())
}

fn ask(state: &mut State, request: &JoinRequest, at: u64) -> Result<(ClusterName, bool), TokenRefused> {
    match join(state, request, At(at)) {
        Ok((name, event)) => {
            evolved(state, event.as_slice());
            Ok((name, event.is_some()))
        }
        Err((reason, event)) => {
            assert_eq!(event.fact, HubFact::JoinRefused { token: request.token, reason: reason.to_string() });
            evolved(state, &[*event]);
            Err(reason)
        }
    }
}

fn joined() -> State {
    let mut state = State::default();
    order(&mut state, &invite("prod", 1, 1_000)).unwrap();
    ask(&mut state, &join_request(1, 'B'), 20).unwrap();
    state
}

#[test]
fn a_token_is_exchanged_once_and_the_same_agent_is_answered_again() {
    let mut state = State::default();
    order(&mut state, &invite("prod", 1, 1_000)).unwrap();
    assert_eq!(ask(&mut state, &join_request(1, 'B'), 20), Ok((cluster("prod"), true)));
    // It asks again with a fresh account, because the reply was lost.
    let again = JoinRequest { account: account('C'), ..join_request(1, 'B') };
    assert_eq!(ask(&mut state, &again, 30), Ok((cluster("prod"), false)));
    let (name, known, enrolment) = state.by_account(&account('B')).unwrap();
    assert_eq!(
        (name, &known.labels, known.invitation.clone()),
        (&cluster("prod"), &labels(&[("env", "prod")]), None)
    );
    assert_eq!(enrolment.expires_at, At(1_000));
    assert_eq!(state.by_account(&account('C')).map(|(name, ..)| name), None);
}

#[test]
fn used_expired_and_foreign_tokens_are_refused_and_recorded() {
    let mut state = joined();
    order(&mut state, &invite("next", 2, 50)).unwrap();
    let other_key = JoinRequest { event_key: [9; 32], ..join_request(1, 'B') };
    let cases = [
        ("another agent", join_request(1, 'D'), 30, TokenRefused::Used),
        ("another event key", other_key, 30, TokenRefused::Used),
        ("the same agent, too late", join_request(1, 'B'), 1_000, TokenRefused::Used),
        ("expired", join_request(2, 'D'), 50, TokenRefused::Expired),
        ("foreign", join_request(9, 'D'), 30, TokenRefused::Foreign),
    ];
    for (name, request, at, reason) in cases {
        let before = state.clone();
        assert_eq!(ask(&mut state, &request, at), Err(reason), "{name}");
        assert_eq!(state, before, "{name}");
    }
}

#[test]
fn a_new_invitation_replaces_the_token_of_a_cluster_that_has_not_joined() {
    let mut state = State::default();
    order(&mut state, &invite("prod", 1, 50)).unwrap();
    order(&mut state, &invite("prod", 2, 500)).unwrap();
    assert_eq!(ask(&mut state, &join_request(1, 'B'), 20), Err(TokenRefused::Foreign));
    assert_eq!(ask(&mut state, &join_request(2, 'B'), 100), Ok((cluster("prod"), true)));
    assert_eq!(order(&mut state, &invite("prod", 3, 900)), Err(Rejected::Joined(cluster("prod"))));
}

#[test]
fn orders_are_refused_with_the_reason() {
    let mut state = joined();
    order(&mut state, &invite("next", 2, 50)).unwrap();
    let rename = |from: &str, to: &str, root_in_git| Command::Rename {
        from: cluster(from),
        to: cluster(to),
        root_in_git,
    };
    let cases = [
        (rename("none", "other", false), Rejected::Unknown(cluster("none"))),
        (rename("prod", "next", false), Rejected::NameTaken(cluster("next"))),
        (rename("prod", "prod", false), Rejected::NameTaken(cluster("prod"))),
        (rename("prod", "other", true), Rejected::RootInGit(cluster("prod"))),
        (Command::Remove(cluster("none")), Rejected::Unknown(cluster("none"))),
        (Command::Empty(cluster("none")), Rejected::Unknown(cluster("none"))),
        (Command::Empty(cluster("next")), Rejected::NeverJoined(cluster("next"))),
    ];
    for (command, reason) in cases {
        let before = state.clone();
        assert_eq!(order(&mut state, &command), Err(reason), "{command:?}");
        assert_eq!(state, before);
    }
}

#[test]
fn a_renamed_cluster_keeps_its_identity_and_its_chain() {
    let mut state = joined();
    state.advance(&account('B'), chain(1, 4));
    let (from, to) = (cluster("prod"), cluster("live"));
    order(&mut state, &Command::Rename { from: from.clone(), to: to.clone(), root_in_git: false }).unwrap();
    let (name, known, enrolment) = state.by_account(&account('B')).unwrap();
    assert_eq!((name, &known.former, enrolment.chain), (&to, &Vec::from([from.clone()]), chain(1, 4)));
    assert!(!state.clusters.contains_key(&from));
}

#[test]
fn a_removed_cluster_is_revoked_and_its_name_is_free() {
    let mut state = joined();
    assert_eq!(order(&mut state, &Command::Empty(cluster("prod"))), Ok(1));
    assert_eq!(order(&mut state, &Command::Empty(cluster("prod"))), Ok(0), "it is on its way");
    order(&mut state, &Command::Remove(cluster("prod"))).unwrap();
    assert!(state.by_account(&account('B')).is_none() && state.revoked.contains_key(&account('B')));
    assert_eq!(ask(&mut state, &join_request(1, 'B'), 30), Err(TokenRefused::Foreign));
    order(&mut state, &invite("prod", 5, 900)).unwrap();
    assert_eq!(ask(&mut state, &join_request(5, 'C'), 30), Ok((cluster("prod"), true)));
    assert!(!state.clusters[&cluster("prod")].leaving);
}

#[test]
fn silence_lasts_from_when_it_was_heard_until_it_is_back() {
    let mut state = joined();
    evolved(&mut state, &[about("prod", HubFact::ClusterSilent { heard_at: At(7) })]);
    assert_eq!(state.clusters[&cluster("prod")].silent_since, Some(At(7)));
    evolved(&mut state, &[about("prod", HubFact::ClusterBack { silent_ms: 5 })]);
    assert_eq!(state.clusters[&cluster("prod")].silent_since, None);
}

fn enrolled(incarnation: u64, seq: u64) -> Enrolment {
    let mut state = joined();
    state.advance(&account('B'), chain(incarnation, seq));
    state.by_account(&account('B')).unwrap().2.clone()
}

#[test]
fn a_batch_is_taken_from_the_first_new_link_or_not_at_all() {
    let known = enrolled(2, 5);
    let mut wrong_previous = batch(2, [6, 7]);
    wrong_previous.links[0].previous = digest(9);
    let mut wrong_later = batch(2, [6, 7]);
    wrong_later.links[1].previous = digest(9);
    let mut other_head = batch(2, [4, 5]);
    other_head.links[1].hash = digest(9);
    let mut hole = batch(2, [6, 8]);
    hole.links[1].previous = hole.links[0].hash;
    let forged = |reason, seq| Ingested::Forged { reason, seq, forked: false };
    let used = |reason, seq| Ingested::Forged { reason, seq, forked: true };
    let cases = [
        ("a heartbeat", batch(2, []), Ingested::Accepted { chain: chain(2, 5), from: 0 }),
        ("the next", batch(2, [6]), Ingested::Accepted { chain: chain(2, 6), from: 0 }),
        ("several", batch(2, 6..9), Ingested::Accepted { chain: chain(2, 8), from: 0 }),
        ("a repeat", batch(2, 3..6), Ingested::Accepted { chain: chain(2, 5), from: 3 }),
        ("an overlap", batch(2, 4..8), Ingested::Accepted { chain: chain(2, 7), from: 2 }),
        ("a gap", batch(2, [7]), Ingested::Gap { chain: chain(2, 5) }),
        ("the end of numbers", batch(2, [u64::MAX]), Ingested::Gap { chain: chain(2, 5) }),
        ("a hole inside", hole, forged("the numbers in the batch are not consecutive", 8)),
        ("another event at the head", other_head, used("another event has this number", 5)),
        ("another previous", wrong_previous, used("the previous hash is another", 6)),
        ("another previous later", wrong_later, forged("the events in the batch are no chain", 7)),
        ("backwards", batch(2, [7, 6]), Ingested::Gap { chain: chain(2, 5) }),
        ("twice the same", batch(2, [6, 6]), forged("the numbers in the batch are not consecutive", 6)),
        ("an older incarnation", batch(1, [6]), forged("the incarnation is over", 6)),
        ("an older heartbeat", batch(1, []), forged("the incarnation is over", 6)),
        ("a new one", batch(3, 1..3), Ingested::Accepted { chain: chain(3, 2), from: 0 }),
        ("a new one's heartbeat", batch(3, []), Ingested::Accepted { chain: chain(3, 0), from: 0 }),
        ("a new one that goes on", batch(3, [6]), Ingested::Gap { chain: chain(3, 0) }),
    ];
    for (name, batch, wanted) in cases {
        assert_eq!(ingest(&known, &batch), wanted, "{name}");
    }
    let mut first = batch(3, [1]);
    first.links[0].previous = known.chain.hash;
    assert_eq!(ingest(&known, &first), used("the previous hash is another", 1), "starts at nothing");
}

proptest! {
    /// However an agent cuts and repeats its events, each is taken once and in order.
    #[test]
    fn every_event_is_taken_once_and_in_order(
        cuts in proptest::collection::vec((0..30u64, 0..8u64), 1..60)
    ) {
        let mut known = enrolled(1, 0);
        let mut taken = Vec::new();
        for (from, length) in cuts {
            let links = (from..from + length).map(|seq| link(1, seq + 1));
            let batch = Batch { incarnation: 1, links: links.collect(), ..Batch::default() };
            match ingest(&known, &batch) {
                Ingested::Accepted { chain, from } => {
                    taken.extend(batch.links.iter().skip(from).map(|link| link.seq));
                    known.chain = chain;
                }
                Ingested::Gap { chain } => prop_assert!(from + 1 > chain.seq + 1),
                Ingested::Forged { reason, .. } => prop_assert!(false, "{}", reason),
            }
            prop_assert_eq!(known.chain.seq, taken.len() as u64);
        }
        let wanted: Vec<u64> = (1..=taken.len() as u64).collect();
        prop_assert_eq!(taken, wanted);
    }
}

#[test]
fn labels_of_an_invitation_are_those_of_the_cluster() {
    let state = joined();
    let none: BTreeMap<_, _> = labels(&[]);
    assert_ne!(state.clusters[&cluster("prod")].labels, none);
}
