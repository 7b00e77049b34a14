//! Given, when, then: one instance by itself. Its whole behaviour stands in `node/agent/tests`, against a model cluster.

use super::ports::Unstored;
use super::*;
use crate::catalog::MaxDeletes;
use crate::desired::{Entry, Mark, Policy};
use crate::given::{commit, digest};
use crate::health::{Health, Judgement};
use crate::object::Key;
use crate::time::At;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use proptest::prelude::*;

fn entry() -> Entry {
    let policy = Policy {
        namespace: String::new(),
        create_namespace: false,
        prune: true,
        self_heal: true,
        allow_empty: false,
        max_deletes: MaxDeletes::Percent(20),
    };
    Entry {
        since: Mark { epoch: 1, generation: 1 },
        digest: digest(1),
        sealed: digest(2),
        commit: commit('a'),
        policy,
        approved: None,
        withdrawn: None,
        trace: None,
    }
}

fn key(name: &str) -> Key {
    Key { group: String::new(), kind: "ConfigMap".into(), namespace: "web".into(), name: name.into() }
}

fn object(name: &str) -> Object {
    Object { key: key(name), version: "v1".into(), content: digest(9), keep: false }
}

fn fingerprint(version: u64) -> Fingerprint {
    Fingerprint { uid: "u".into(), version, owned: 4, deleting: false }
}

fn begun() -> Instance {
    let mut instance = Instance::new(entry(), BTreeMap::new(), None, None, Limits::default());
    instance.begin(At(0));
    instance
}

#[test]
fn an_instance_asks_for_its_bundle_then_for_its_inventory_then_applies() {
    let mut instance = begun();
    let run = instance.run();
    assert_eq!(instance.take().effects, [Effect::Load { run, entry: entry(), recall: Some(Vec::new()) }]);
    instance.loaded(run, Vec::from([object("a")]), Recalled::default(), &BTreeMap::new(), At(1));
    let taken = instance.take();
    assert_eq!(taken.effects, [Effect::Store { run, keys: Vec::from([(key("a"), "v1".into())]) }]);
    let entered = Member { key: key("a"), was: None, is: Some("v1".into()) };
    assert_eq!((taken.dirty, taken.members), (true, Vec::from([entered])));
    instance.stored(run, Ok(()), At(2));
    let commit = commit('a');
    assert_eq!(
        instance.take().effects,
        [Effect::Apply { run, object: object("a"), commit, look_first: false }]
    );
    assert_eq!(instance.step(), Step::Applying);
}

#[test]
fn one_writing_of_the_inventory_at_a_time_and_the_newest_last() {
    let mut instance = begun();
    let first = instance.run();
    instance.loaded(first, Vec::from([object("a")]), Recalled::default(), &BTreeMap::new(), At(1));
    let newer = Entry { digest: digest(5), since: Mark { epoch: 1, generation: 2 }, ..entry() };
    instance.ordered(newer, At(2));
    let second = instance.run();
    instance.take();
    instance.loaded(
        second,
        Vec::from([object("a"), object("b")]),
        Recalled::default(),
        &BTreeMap::new(),
        At(3),
    );
    assert_eq!(instance.take().effects, [], "the first is still on its way");
    instance.stored(first, Ok(()), At(4));
    let keys = Vec::from([(key("a"), "v1".into()), (key("b"), "v1".into())]);
    assert_eq!(instance.take().effects, [Effect::Store { run: second, keys }]);
    instance.stored(second, Ok(()), At(5));
    assert_eq!(instance.take().effects.len(), 2, "now both are applied");
}

#[test]
fn what_is_not_ours_is_told_by_its_fields() {
    let none = crate::object::Owned::default().fingerprint();
    assert!(!Fingerprint { owned: none, ..fingerprint(1) }.is_ours());
    assert!(fingerprint(1).is_ours());
}

fn judgement() -> impl Strategy<Value = Judgement> {
    let healths = [Health::Healthy, Health::Progressing, Health::Degraded, Health::Unknown, Health::Missing];
    prop::sample::select(Vec::from(healths)).prop_map(|health| Judgement::new(health, "so"))
}

proptest! {
    /// No answer, however late, doubled or unasked for, makes an instance panic or put more than eight requests in flight.
    #[test]
    fn unasked_answers_do_no_harm(
        answers in proptest::collection::vec((0..9u8, 0..4u64, 0..3usize, 0..9u64, judgement()), 0..60)
    ) {
        let mut instance = begun();
        let (mut in_flight, mut at) = (0usize, 0);
        for (what, run, which, number, judgement) in answers {
            at += number;
            let (now, name) = (At(at * 100), ["a", "b", "c"][which]);
            let fingerprint = |number| Fingerprint { deleting: number % 4 == 3, ..fingerprint(number) };
            let gone = Ok(if number % 2 == 0 { Deleted::Gone } else { Deleted::Pending });
            let problem = (number % 3 == 0).then(|| Problem { cause: None, message: "no".into() });
            match what {
                0 => instance.loaded(run, Vec::from([object("a"), object(name)]), Recalled::default(), &BTreeMap::new(), now),
                1 => instance.not_loaded(run, "no".into(), now),
                2 => instance.stored(run, problem.map_or(Ok(()), |it| Err(Unstored::Failed(it))), now),
                3 => {
                    let fingerprint = fingerprint(number);
                    let applied = Applied { fingerprint, judgement, taken: Vec::new(), created: number % 2 == 0 };
                    let outcome = problem.map_or(Ok(applied), Err);
                    instance.applied(run, &object(name), &commit('a'), outcome, now);
                }
                4 => instance.deleted(run, &key(name), problem.map_or(gone, Err), now),
                5 => {
                    let fingerprint = fingerprint(number);
                    let found = Inspected::Found { fingerprint, judgement, lost: Vec::new() };
                    let outcome = if number % 2 == 0 { found } else { Inspected::Missing };
                    instance.inspected(&key(name), number % 3 == 0, outcome, now);
                }
                6 => instance.seen(&key(name), Fingerprint { owned: number, ..fingerprint(number) }, now),
                7 => instance.vanished(&key(name), now),
                _ => instance.wake(now),
            }
            let asked = instance.take().effects;
            in_flight = in_flight.max(asked.iter().filter(|e| matches!(e, Effect::Apply { .. })).count());
            instance.check().unwrap();
            let status = instance.status();
            prop_assert!(status.troubles.len() <= 20 && status.message.chars().count() <= 400);
        }
        prop_assert!(in_flight <= 8);
    }
}
