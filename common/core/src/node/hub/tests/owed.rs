//! What the hub owes is asked for once while it is being paid, again after a failure, and all of it after a restart.

use super::delivery::at_rest;
use super::world::*;
use crate::node::hub::{Debt, Effect, Input};
use crate::time::Span;
use alloc::vec;
use alloc::vec::Vec;

#[test]
fn an_effect_is_not_asked_for_again_while_it_is_in_flight() {
    let mut world = World::new();
    world.add("shop");
    assert_eq!(asked(&world.push("shop", &commit(1))), ["Read"]);
    let later = [Input::Wake, Input::Refill, Input::Sighted(sighting("shop", &commit(2)))];
    for input in later {
        assert_eq!(asked(&world.step(input)), [""; 0]);
    }
    world.pass(Span::secs(3_600));
    assert_eq!(world.hub.debts().into_iter().collect::<Vec<_>>(), [Debt::Read(source_name("shop"))]);
}

#[test]
fn a_failed_effect_is_asked_for_again_after_a_pause_that_doubles() {
    let mut world = World::new();
    world.add("shop");
    world.push("shop", &commit(1));
    let debt = Debt::Read(source_name("shop"));
    for pause in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
        assert_eq!(asked(&world.step(Input::Failed(debt.clone()))), [""; 0]);
        assert_eq!(world.hub.next_wake(), Some(world.now.plus(Span(pause))));
        assert!(world.pass(Span(pause - 1)).is_empty());
        let outs = world.pass(Span(1));
        assert_eq!(outs.iter().map(asked).collect::<Vec<_>>(), [["Read"]], "after {pause} ms");
    }
    world.step(Input::Failed(debt.clone()));
    assert_eq!(asked(&world.push("shop", &commit(2))), ["Read"], "a new reason does not wait");
    world.step(Input::Failed(debt));
    assert_eq!(world.hub.next_wake(), Some(world.now.plus(Span(500))), "and begins to count anew");
}

#[test]
fn everything_volatile_is_owed_again_after_a_restart() {
    let mut world = at_rest();
    let before = world.hub.state().clone();
    let out = world.restart();
    assert_eq!(facts(&out), [("HubStarted", None)]);
    assert_eq!(asked(&out), ["Follow", "SetAccount", "Publish", "Read", "Render"]);
    for effect in &out.effects {
        match effect {
            Effect::Follow(tracks) => assert_eq!(tracks.iter().collect::<Vec<_>>(), [&track("shop")]),
            Effect::SetAccount { user_key, .. } => assert_eq!(user_key.as_deref(), Some("user of west")),
            Effect::Publish { index, .. } => assert_eq!(*index, before.planner.fleet[&name("west")].index),
            Effect::Read { commit: at, .. } => assert_eq!(*at, commit(1)),
            Effect::Render { previous, .. } => assert_eq!(previous.as_ref().unwrap().commit, commit(1)),
        }
    }
    assert_eq!(world.hub.state().planner.fleet, before.planner.fleet);
}

#[test]
fn what_nats_lost_is_published_again() {
    let mut world = at_rest();
    let out = world.step(Input::Refill);
    assert_eq!((facts(&out), asked(&out)), (vec![], vec!["SetAccount", "Publish"]));
}

#[test]
fn an_index_that_was_raised_while_the_last_one_was_published_is_published_too() {
    let mut world = super::delivery::delivered();
    let published = world.hub.state().planner.fleet[&name("west")].index.mark;
    let variant = variants(&world.push("shop", &commit(2)))[0].clone();
    let out = world.step(sealed(&variant, &commit(2)));
    assert_eq!(facts(&out)[1].0, "IndexRaised");
    assert_eq!(asked(&out), [""; 0]);
    let out = world.step(Input::Published { cluster: name("west"), mark: published });
    let [Effect::Publish { index, .. }] = out.effects.as_slice() else { panic!("{:?}", out.effects) };
    assert_eq!(index.mark.generation, published.generation + 1);
}

#[test]
fn revisions_are_followed_as_long_as_a_source_or_an_app_names_them() {
    let mut world = at_rest();
    let followed = |out: &crate::node::hub::Outputs| {
        let revisions = out.effects.iter().find_map(|effect| match effect {
            Effect::Follow(tracks) => Some(tracks.iter().map(|track| track.revision.clone())),
            _ => None,
        });
        revisions.map(Iterator::collect::<Vec<_>>)
    };
    let mut apps = vec![declared("web", "shop", "west"), declared("api", "shop", "west")];
    apps[1].target_revision = "v2".into();
    let seen = world.push("shop", &commit(2)).first;
    let out = world.step(Input::Read(reading("shop", &commit(2), apps.clone(), seen)));
    assert_eq!(followed(&out), Some(vec!["main".into(), "v2".into()]));
    apps.pop();
    let seen = world.push("shop", &commit(3)).first;
    let out = world.step(Input::Read(reading("shop", &commit(3), apps, seen)));
    assert_eq!(followed(&out), Some(vec!["main".into()]));
}
