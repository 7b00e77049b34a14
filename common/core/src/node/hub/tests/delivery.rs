//! From a commit to an index: each fact names the one that it follows from.

use super::world::*;
use crate::catalog::{Root, Unreadable};
use crate::desired::Mark;
use crate::event::HubFact;
use crate::node::hub::{Command, Effect, Input, Outcome, Rendered};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// A world in which `shop/web` has its first index on `west`; the index is not published yet.
pub(super) fn delivered() -> World {
    let mut world = World::new();
    world.add("shop");
    world.enrol("west");
    let seen = world.push("shop", &commit(1)).first;
    let apps = vec![declared("web", "shop", "west")];
    let out = world.step(Input::Read(reading("shop", &commit(1), apps, seen)));
    world.step(sealed(&variants(&out)[0], &commit(1)));
    world
}

/// The same, published: nothing is owed any more.
pub(super) fn at_rest() -> World {
    let mut world = delivered();
    assert!(!world.hub.is_idle(), "its index is on the way");
    let mark = Mark { epoch: 1, generation: 1 };
    world.step(Input::Published { cluster: name("west"), mark });
    assert!(world.hub.is_idle());
    world
}

#[test]
fn a_commit_becomes_an_index_and_every_fact_names_its_cause() {
    let mut world = World::new();
    world.add("shop");
    world.enrol("west");

    let out = world.push("shop", &commit(1));
    let seen = out.first;
    assert_eq!((facts(&out), asked(&out)), (vec![("CommitSeen", None)], vec!["Read"]));
    let [Effect::Read { commit: at, cause, trace, .. }] = out.effects.as_slice() else {
        panic!("{:?}", out.effects)
    };
    assert_eq!((at, *cause, trace.is_some()), (&commit(1), seen, true));

    let apps = vec![declared("web", "shop", "west")];
    let out = world.step(Input::Read(reading("shop", &commit(1), apps, seen)));
    assert_eq!(facts(&out), [("CatalogChanged", Some(seen))]);
    assert_eq!(asked(&out), ["Render"]);

    let out = world.step(sealed(&variants(&out)[0], &commit(1)));
    assert_eq!(facts(&out), [("BundleSealed", Some(seen)), ("IndexRaised", Some(out.first))]);
    let [Effect::Publish { cluster, account: to, box_key, index, grant: None, adopted: false }] =
        out.effects.as_slice()
    else {
        panic!("{:?}", out.effects)
    };
    assert_eq!((cluster, to, box_key.as_str()), (&name("west"), &account("west"), "box of west"));
    assert_eq!((index.mark, index.entries.len()), (Mark { epoch: 1, generation: 1 }, 1));
    let entry = &index.entries[&app("shop/web")];
    assert_eq!((&entry.commit, entry.since), (&commit(1), index.mark));
    assert!(entry.trace.is_some());

    let out = world.step(Input::Published { cluster: name("west"), mark: index.mark });
    assert_eq!((facts(&out), asked(&out)), (vec![], vec![]));
    assert!(world.hub.is_idle());
}

#[test]
fn planning_again_changes_nothing() {
    let world = at_rest();
    let west = &world.hub.state().planner.fleet[&name("west")];
    let variant = world.hub.state().planner.bundles.keys().next().unwrap().clone();
    let unchanged = Rendered { variant: variant.clone(), commit: commit(1), outcome: Outcome::Unchanged };
    let seen = world.hub.state().sources.head(&track("shop")).unwrap().index;
    let apps = vec![declared("web", "shop", "west")];
    let again = [
        ("the same commit", Input::Sighted(sighting("shop", &commit(1)))),
        ("the same reading", Input::Read(reading("shop", &commit(1), apps, seen))),
        ("the same bundle", sealed(&variant, &commit(1))),
        ("nothing new", Input::Rendered(unchanged)),
        ("published once more", Input::Published { cluster: name("west"), mark: west.index.mark }),
        ("a wake", Input::Wake),
    ];
    for (what, input) in again {
        let mut world = at_rest();
        let out = world.step(input);
        assert_eq!((facts(&out), asked(&out)), (vec![], vec![]), "{what}");
        assert!(world.hub.is_idle(), "{what}");
    }
}

#[test]
fn what_comes_from_an_older_commit_is_asked_for_again() {
    let mut world = delivered();
    let out = world.push("shop", &commit(2));
    let seen = out.first;
    assert_eq!(asked(&out), ["Read", "Render"]);
    let variant = variants(&out)[0].clone();
    world.push("shop", &commit(3));

    let out = world.step(Input::Read(reading("shop", &commit(2), Vec::new(), seen)));
    assert_eq!((facts(&out), asked(&out)), (vec![], vec!["Read"]));
    let out = world.step(sealed(&variant, &commit(2)));
    assert_eq!((facts(&out), asked(&out)), (vec![], vec!["Render"]));
    let [Effect::Render { commit: at, previous, .. }] = out.effects.as_slice() else { panic!() };
    assert_eq!((at, &previous.as_ref().unwrap().commit), (&commit(3), &commit(1)));
}

#[test]
fn a_rendering_that_fails_is_recorded_once_and_the_cluster_keeps_what_it_has() {
    let mut world = at_rest();
    let variant = variants(&world.push("shop", &commit(2)))[0].clone();
    let failed = || {
        let (file, cause) = (Some("web/a.yaml".into()), String::from("not YAML"));
        let outcome = Outcome::Failed { file, document: None, line: Some(3), cause };
        Input::Rendered(Rendered { variant: variant.clone(), commit: commit(2), outcome })
    };
    assert_eq!(facts(&world.step(failed()))[0].0, "RenderFailed");
    assert_eq!(facts(&world.step(failed())), []);
    let entry = &world.hub.state().planner.fleet[&name("west")].index.entries[&app("shop/web")];
    assert_eq!(entry.commit, commit(1));
}

#[test]
fn a_commit_is_not_considered_where_what_it_declares_could_not_be_read() {
    for broken in [false, true] {
        let mut world = at_rest();
        let seen = world.push("shop", &commit(2));
        let variant = variants(&seen)[0].clone();
        let mut reading = reading("shop", &commit(2), vec![declared("web", "shop", "west")], seen.first);
        if broken {
            let why = Unreadable { file: None, line: None, cause: "bad indent".into() };
            reading.roots.insert(Root::Directory, Err(why));
        }
        world.step(Input::Read(reading));
        world.step(sealed(&variant, &commit(2)));
        let considered = super::considered(&world.hub, &name("west"), &app("shop/web"));
        assert_eq!(considered, if broken { vec![] } else { vec![commit(2)] });
    }
}

#[test]
fn a_sync_order_delivers_what_is_not_automated() {
    let mut world = World::new();
    world.add("shop");
    world.enrol("west");
    let seen = world.push("shop", &commit(1)).first;
    let mut by_hand = declared("web", "shop", "west");
    by_hand.sync.automated = false;
    let read = world.step(Input::Read(reading("shop", &commit(1), vec![by_hand], seen)));
    let mut early = world.clone();
    let out = world.step(sealed(&variants(&read)[0], &commit(1)));
    assert_eq!(facts(&out), [("BundleSealed", Some(seen))]);
    let sync = Command::Sync { app: app("shop/web"), clusters: Vec::new(), reason: "release".into() };
    let out = world.order(sync.clone());
    assert_eq!(facts(&out), [("SyncRequested", None), ("IndexRaised", Some(out.first))]);
    let HubFact::IndexRaised { changes, .. } = own(&out)[1] else { panic!() };
    assert_eq!(changes[0].app, app("shop/web"));
    // Before there is a bundle the order is kept, and there is no index to publish.
    assert_eq!(facts(&early.order(sync)), [("SyncRequested", None)]);
    assert_eq!(asked(&early.step(Input::Refill)), ["SetAccount"]);
    assert_eq!(facts(&early.step(sealed(&variants(&read)[0], &commit(1))))[1].0, "IndexRaised");
}
