//! Given, when, then: what changes an index, and that nothing else does.

use super::plan::Stay;
use super::*;
use crate::catalog::{Placement, SyncPolicy};
use crate::desired::{Change, Mark, Withdrawal};
use crate::event::agent::{Phase, Status};
use crate::event::{HubEvent, HubFact};
use crate::given::{FIVE, about, app, automated, cluster, commit, digest, event, placement, variant};
use crate::health::Health;
use crate::id::AppId;
use crate::invariant;
use crate::time::At;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use proptest::prelude::*;

/// What Git wants: by app.
type Wanted = BTreeMap<AppId, Placement>;

struct Given {
    state: State,
    wanted: Wanted,
    unplaced: BTreeMap<AppId, String>,
    stay: Stay,
    index: u64,
}

impl Given {
    fn new() -> Given {
        let mut state = State::default();
        evolve(&mut state, 0, &event(HubFact::Started { version: "1".into(), epoch: 3 }));
        Given { state, wanted: BTreeMap::new(), unplaced: BTreeMap::new(), stay: Stay::Stays, index: 1 }
    }

    fn evolve(&mut self, event: &HubEvent) {
        self.index += 1;
        evolve(&mut self.state, self.index, event);
        invariant::desired(&self.state).unwrap();
    }

    fn want(&mut self, name: &str) {
        self.wanted.insert(app(name), placement(name));
    }

    fn seal(&mut self, name: &str, letter: char, number: u8) {
        let (digest, sealed) = (digest(number), digest(number + 100));
        let (variant, inputs) = (variant(name), Vec::new());
        let fact = HubFact::BundleSealed { variant, digest, sealed, size: 1, objects: 1, inputs };
        let mut sealed = event(fact);
        sealed.context.commit = Some(commit(letter));
        self.evolve(&sealed);
    }

    fn about_app(&mut self, name: &str, fact: HubFact) {
        let mut event = about("prod", fact);
        event.context.app = Some(app(name));
        self.evolve(&event);
    }

    fn changes(&self) -> Vec<Change> {
        let none = Desired::default();
        let desired = self.state.fleet.get(&cluster("prod")).unwrap_or(&none);
        let mark = self.state.next_mark(&cluster("prod"));
        plan(&self.state, desired, &self.wanted, &self.unplaced, self.stay, mark)
    }

    /// Plans, raises the index, and tells the reasons.
    fn plan(&mut self) -> Vec<String> {
        let changes = self.changes();
        let reasons =
            changes.iter().map(|change| change.app.name.to_string() + ": " + &change.reason).collect();
        if !changes.is_empty() {
            let mark = self.state.next_mark(&cluster("prod"));
            self.evolve(&about("prod", HubFact::IndexRaised { mark, changes }));
        }
        assert_eq!(self.changes(), [], "planning again changes nothing");
        reasons
    }

    fn desired(&self) -> &Desired {
        &self.state.fleet[&cluster("prod")]
    }

    fn confirm(&mut self, name: &str) {
        state::withdrawn(&mut self.state, &cluster("prod"), &app(name), None);
        invariant::desired(&self.state).unwrap();
    }
}

fn delivered() -> Given {
    let mut given = Given::new();
    given.want("fleet/web");
    given.seal("fleet/web", 'a', 1);
    assert_eq!(given.plan(), ["web: first delivery of commit aaaaaaaaaa"]);
    given
}

#[test]
fn an_app_is_delivered_when_its_bundle_is_there_and_again_when_it_changes() {
    let mut given = Given::new();
    given.want("fleet/web");
    assert_eq!(given.plan(), [""; 0], "nothing is rendered yet");
    given.seal("fleet/web", 'a', 1);
    assert_eq!(given.plan(), ["web: first delivery of commit aaaaaaaaaa"]);
    given.seal("fleet/web", 'b', 1);
    assert_eq!(given.plan(), [""; 0], "rendered to the same bytes");
    given.seal("fleet/web", 'c', 2);
    assert_eq!(given.plan(), ["web: commit cccccccccc changes it"]);
    let entry = &given.desired().index.entries[&app("fleet/web")];
    assert_eq!((entry.digest, entry.sealed, &entry.commit), (digest(2), digest(102), &commit('c')));
    assert_eq!((entry.since, given.desired().index.mark), (Mark { epoch: 3, generation: 2 }, entry.since));
}

#[test]
fn an_entry_keeps_its_mark_while_others_change() {
    let mut given = delivered();
    given.want("fleet/api");
    given.seal("fleet/api", 'a', 7);
    given.plan();
    let index = &given.desired().index;
    assert_eq!(index.entries[&app("fleet/web")].since.generation, 1);
    assert_eq!((index.entries[&app("fleet/api")].since.generation, index.mark.generation), (2, 2));
}

#[test]
fn a_policy_reaches_the_cluster_without_a_new_bundle() {
    let mut given = delivered();
    let placement = given.wanted.get_mut(&app("fleet/web")).unwrap();
    placement.max_deletes = FIVE;
    assert_eq!(given.plan(), ["web: its policy changed"]);
    assert_eq!(given.desired().index.entries[&app("fleet/web")].policy.max_deletes, FIVE);
}

#[test]
fn what_a_restored_hub_took_over_and_has_not_rendered_changes_with_its_content_only() {
    let mut given = delivered();
    given.wanted.get_mut(&app("fleet/web")).unwrap().sync = SyncPolicy { automated: false, ..automated() };
    given.evolve(&event(HubFact::Started { version: "1".into(), epoch: 4 }));
    given.seal("fleet/web", 'b', 2);
    given.wanted.get_mut(&app("fleet/web")).unwrap().sync =
        SyncPolicy { automated: false, prune: false, ..automated() };
    given.about_app("fleet/web", HubFact::Approved { digest: digest(1), reason: String::new() });
    assert_eq!(given.plan(), [""; 0], "its bundle is not here, and a new entry would need the key");
    let clusters = Vec::from([cluster("prod")]);
    given.about_app("fleet/web", HubFact::SyncRequested { clusters, reason: String::new() });
    assert_eq!(given.plan(), ["web: commit bbbbbbbbbb changes it"]);
    let entry = &given.desired().index.entries[&app("fleet/web")];
    assert_eq!((entry.policy.prune, entry.since.epoch), (false, 4));
}

#[test]
fn a_manual_app_waits_for_a_person_and_takes_the_newest_bundle_then() {
    let mut given = Given::new();
    given.want("fleet/web");
    given.wanted.get_mut(&app("fleet/web")).unwrap().sync = SyncPolicy { automated: false, ..automated() };
    given.seal("fleet/web", 'a', 1);
    assert_eq!(given.plan(), [""; 0]);
    let request = HubFact::SyncRequested { clusters: Vec::from([cluster("prod")]), reason: String::new() };
    given.about_app("fleet/web", request.clone());
    assert_eq!(given.plan(), ["web: first delivery of commit aaaaaaaaaa"]);
    given.seal("fleet/web", 'b', 2);
    assert_eq!(given.plan(), [""; 0], "one request, one delivery");
    given.about_app("fleet/web", request.clone());
    assert_eq!(given.plan(), ["web: commit bbbbbbbbbb changes it"]);
    given.about_app("fleet/web", request);
    assert_eq!(given.plan(), ["web: a person asked for a sync"], "the same bundle, to be applied again");
    assert!(given.desired().requested.is_empty());
}

#[test]
fn a_policy_of_a_manual_app_changes_without_its_bundle() {
    let mut given = delivered();
    let placement = given.wanted.get_mut(&app("fleet/web")).unwrap();
    placement.sync = SyncPolicy { automated: false, self_heal: false, ..automated() };
    given.seal("fleet/web", 'b', 2);
    assert_eq!(given.plan(), ["web: its policy changed"]);
    assert_eq!(given.desired().index.entries[&app("fleet/web")].digest, digest(1));
}

#[test]
fn an_approval_is_part_of_the_entry_and_counts_for_its_bundle_only() {
    let mut given = delivered();
    given.about_app("fleet/web", HubFact::Approved { digest: digest(1), reason: "yes".into() });
    assert_eq!(given.plan(), ["web: its deletions were approved"]);
    given.seal("fleet/web", 'b', 2);
    given.plan();
    let entry = &given.desired().index.entries[&app("fleet/web")];
    assert_eq!((entry.digest, entry.approved), (digest(2), Some(digest(1))));
}

#[test]
fn what_git_declares_no_more_leaves_with_its_objects_staying() {
    let mut given = delivered();
    given.wanted.clear();
    assert_eq!(given.plan(), ["web: Git declares it no more; its objects stay"]);
    let index = &given.desired().index;
    let entry = &index.entries[&app("fleet/web")];
    assert_eq!((entry.withdrawn, entry.since), (Some(Withdrawal::Orphan), index.mark), "it changed here");
    given.confirm("fleet/web");
    assert_eq!(given.plan(), ["web: its removal was confirmed"]);
    assert!(given.desired().index.entries.is_empty());
}

#[test]
fn what_cannot_be_placed_for_now_keeps_its_entry() {
    let mut given = delivered();
    given.wanted.clear();
    given.unplaced.insert(app("fleet/web"), "its repository is not declared".into());
    assert_eq!(given.plan(), [""; 0]);
    assert_eq!(given.desired().index.entries[&app("fleet/web")].withdrawn, None);
}

#[test]
fn what_comes_back_while_it_leaves_is_delivered_again() {
    for confirmed in [false, true] {
        let mut given = delivered();
        let wanted = core::mem::take(&mut given.wanted);
        given.plan();
        if confirmed {
            given.confirm("fleet/web");
        }
        given.wanted = wanted;
        assert_eq!(given.plan(), ["web: first delivery of commit aaaaaaaaaa"], "confirmed: {confirmed}");
        assert_eq!(given.desired().index.entries[&app("fleet/web")].withdrawn, None);
    }
}

#[test]
fn what_is_named_again_but_cannot_be_placed_leaves_once_its_removal_is_confirmed() {
    let mut given = delivered();
    given.wanted.clear();
    given.plan();
    given.confirm("fleet/web");
    given.unplaced.insert(app("fleet/web"), "its repository is not declared".into());
    assert_eq!(given.plan(), ["web: its removal was confirmed"]);
}

#[test]
fn a_cluster_that_leaves_loses_everything_with_its_objects() {
    let mut given = delivered();
    given.want("fleet/api");
    given.seal("fleet/api", 'a', 7);
    given.plan();
    given.wanted.remove(&app("fleet/api"));
    given.plan();
    given.stay = Stay::Leaves;
    let reason = "the cluster leaves the fleet";
    assert_eq!(given.plan(), ["api: ".to_string() + reason, "web: ".to_string() + reason]);
    let how = |given: &Given| given.desired().index.entries.values().map(|e| e.withdrawn).collect::<Vec<_>>();
    assert_eq!(how(&given), [Some(Withdrawal::Cascade); 2], "what was to stay goes as well");
    given.confirm("fleet/api");
    assert_eq!(given.plan(), ["api: its removal was confirmed"]);
    given.confirm("fleet/web");
    assert_eq!(given.plan(), ["web: its removal was confirmed"]);
}

#[test]
fn reports_and_confirmations_count_for_what_the_index_names() {
    let mut given = delivered();
    let status = Status {
        since: Mark::default(),
        digest: digest(1),
        phase: Phase::Synced,
        health: Health::Healthy,
        message: String::new(),
        troubles: Vec::new(),
        objects: 1,
        held: Vec::new(),
        flaps: 0,
    };
    let said = Report { status, at: At(1), index: 5 };
    report(&mut given.state, &cluster("prod"), &app("fleet/none"), &said.status, said.at, said.index);
    state::withdrawn(&mut given.state, &cluster("prod"), &app("fleet/web"), None);
    assert!(given.desired().reports.is_empty() && given.desired().withdrawn.is_empty());
    report(&mut given.state, &cluster("prod"), &app("fleet/web"), &said.status, said.at, said.index);
    assert_eq!(given.desired().reports.len(), 1);
    given.wanted.clear();
    given.plan();
    given.confirm("fleet/web");
    given.plan();
    assert!(given.desired().reports.is_empty(), "forgotten with the entry");
}

#[test]
fn a_failed_rendering_is_named_until_a_later_one_succeeds_and_takes_nothing_away() {
    let mut given = delivered();
    let (file, document, line) = (Some("a.yaml".to_string()), Some(2), Some(7));
    let mut failed = event(HubFact::RenderFailed {
        variant: variant("fleet/web"),
        file,
        document,
        line,
        cause: "bad indent".into(),
    });
    failed.context.commit = Some(commit('b'));
    given.evolve(&failed);
    assert_eq!(given.plan(), [""; 0]);
    assert_eq!(given.state.failures[&variant("fleet/web")].message, "a.yaml:7 (document 2): bad indent");
    given.seal("fleet/web", 'c', 1);
    assert!(given.state.failures.is_empty());
}

#[test]
fn a_renamed_cluster_keeps_its_index_and_a_removed_one_leaves_none() {
    let mut given = delivered();
    let (from, to) = (cluster("prod"), cluster("live"));
    given.evolve(&about("prod", HubFact::ClusterRenamed { from, to }));
    assert_eq!(given.state.fleet[&cluster("live")].index.entries.len(), 1);
    given.evolve(&about("live", HubFact::ClusterRemoved { account: None }));
    assert!(given.state.fleet.is_empty());
}

#[derive(Clone, Debug)]
enum Move {
    Want(usize, bool),
    Drop(usize),
    Unplace(usize),
    Seal(usize, u8),
    Request(usize),
    Approve(usize, u8),
    Confirm(usize),
    Leave,
}

const APPS: [&str; 3] = ["fleet/web", "fleet/api", "shop/web"];

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        (0..3usize, any::<bool>()).prop_map(|(app, automated)| Move::Want(app, automated)),
        (0..3usize).prop_map(Move::Drop),
        (0..3usize).prop_map(Move::Unplace),
        (0..3usize, 1..4u8).prop_map(|(app, number)| Move::Seal(app, number)),
        (0..3usize).prop_map(Move::Request),
        (0..3usize, 1..4u8).prop_map(|(app, number)| Move::Approve(app, number)),
        (0..3usize).prop_map(Move::Confirm),
        Just(Move::Leave),
    ]
}

proptest! {
    /// After any history a plan carried out leaves nothing to plan, and what Git wants automatically is in the index.
    #[test]
    fn a_plan_carried_out_leaves_nothing_to_plan(moves in proptest::collection::vec(moves(), 1..40)) {
        let mut given = Given::new();
        for made in moves {
            match made {
                Move::Want(at, automated) => {
                    given.want(APPS[at]);
                    given.wanted.get_mut(&app(APPS[at])).unwrap().sync.automated = automated;
                    given.unplaced.remove(&app(APPS[at]));
                }
                Move::Drop(at) => {
                    given.wanted.remove(&app(APPS[at]));
                    given.unplaced.remove(&app(APPS[at]));
                }
                Move::Unplace(at) => {
                    given.wanted.remove(&app(APPS[at]));
                    given.unplaced.insert(app(APPS[at]), String::new());
                }
                Move::Seal(at, number) => given.seal(APPS[at], 'a', number),
                Move::Request(at) => {
                    let clusters = Vec::from([cluster("prod")]);
                    given.about_app(APPS[at], HubFact::SyncRequested { clusters, reason: String::new() });
                }
                Move::Approve(at, number) => {
                    given.about_app(APPS[at], HubFact::Approved { digest: digest(number), reason: String::new() });
                }
                Move::Confirm(at) => given.confirm(APPS[at]),
                Move::Leave => given.stay = Stay::Leaves,
            }
            given.plan();
            let empty = Desired::default();
            let desired = given.state.fleet.get(&cluster("prod")).unwrap_or(&empty);
            for (app, placement) in given.wanted.iter().filter(|_| given.stay == Stay::Stays) {
                let bundle = given.state.bundles.get(&placement.variant);
                let entry = desired.index.entries.get(app);
                if placement.sync.automated {
                    prop_assert_eq!(entry.map(|entry| entry.digest), bundle.map(|bundle| bundle.digest));
                }
            }
            if given.stay == Stay::Leaves {
                prop_assert!(desired.index.entries.values().all(|e| e.withdrawn == Some(Withdrawal::Cascade)));
            }
        }
    }
}
