//! The log searched, deliveries told, parts checked.

use super::house::{House, app, cluster, commit};
use super::rows::one_app;
use crate::api::service::{Command, Events, Fleet as _, Found};
use crate::driver::wall;
use crate::log::Room;
use taffrail_core::event::agent::Phase;
use taffrail_core::event::{Actor, AgentEvent, AgentFact, Context};
use taffrail_core::health::Health;
use taffrail_core::id::AppId;
use taffrail_core::object::Key;
use taffrail_proto::v1::{EventFilter, PartStatus};

pub(super) async fn find(house: &House, which: Events) -> Found {
    house.service.events(&which).await.unwrap().value
}

fn all() -> Events {
    Events { limit: 1_000, ..Events::default() }
}

/// The kinds of all events in order.
pub(super) async fn kinds(house: &House) -> Vec<String> {
    find(house, all()).await.events.into_iter().map(|row| row.kind).collect()
}

#[tokio::test]
async fn every_event_has_a_sentence_and_json() {
    let (mut house, joined) = one_app(true).await;
    house.sealed(1, "apps/api").await;
    house.say(&joined, "fleet/api", |_| {}).await;
    let found = find(&house, all()).await;
    assert!(!found.more);
    for row in &found.events {
        assert!(row.summary.ends_with(['.', '1']) && row.summary.len() > 10, "{row:?}");
        assert!(serde_json::from_str::<serde_json::Value>(&row.detail_json).unwrap().is_object(), "{row:?}");
    }
    let said = |kind: &str| found.events.iter().find(|row| row.kind == kind).unwrap().summary.clone();
    assert_eq!(said("CommitSeen"), "Commit 0101010101 by Ada <ada@example.com>: Change 1");
    assert_eq!(said("InstanceChanged"), "api on paris is Synced and Healthy at 0101010101.");
    assert_eq!(
        said("IndexRaised"),
        "Index 1.1 of paris: api at 0101010101 (first delivery of commit 0101010101)."
    );
}

#[tokio::test]
async fn a_search_is_the_same_in_pages_and_in_both_directions() {
    let (mut house, joined) = one_app(true).await;
    for number in 1..6 {
        house.push(number, true).await;
        house.sealed(number, "apps/api").await;
        house.say(&joined, "fleet/api", |_| {}).await;
    }
    // Many of one kind, then a single one of another: a page of the first ends before the second is met.
    house.give(Command::Sync { app: app("api"), clusters: vec![] }).await.unwrap();
    let kinds = vec![String::from("SyncRequested"), String::from("CommitSeen")];
    for filter in [
        EventFilter::default(),
        EventFilter { kinds, ..EventFilter::default() },
        EventFilter { source: "fleet".into(), ..EventFilter::default() },
        EventFilter { app: "api".into(), cluster: "paris".into(), ..EventFilter::default() },
    ] {
        let whole = find(&house, Events { filter: filter.clone(), ..all() }).await.events;
        assert!(whole.len() > 4, "{filter:?}: {}", whole.len());
        let mut paged = Vec::new();
        let mut after_index = 0;
        loop {
            let which = Events { filter: filter.clone(), after_index, limit: 2, ..Events::default() };
            let found = find(&house, which).await;
            paged.extend(found.events);
            after_index = found.reached_index;
            if !found.more {
                break;
            }
        }
        assert_eq!(paged, whole, "{filter:?}");
        let which = Events { filter, newest_first: true, ..all() };
        let mut back = find(&house, which).await.events;
        back.reverse();
        assert_eq!(back, whole);
    }
}

#[tokio::test]
async fn a_search_says_how_far_it_looked() {
    let (house, _) = one_app(true).await;
    let filter = EventFilter { actor: "nobody".into(), ..EventFilter::default() };
    let found = find(&house, Events { filter, ..all() }).await;
    assert_eq!((found.events.len(), found.more), (0, false));
    assert_eq!(found.reached_index, house.service.clusters().await.unwrap().view.state_index);
    let filter = EventFilter { commit: "0101".into(), ..EventFilter::default() };
    assert!(find(&house, Events { filter, ..all() }).await.events.len() > 1);
}

#[tokio::test]
async fn history_tells_what_became_of_each_commit() {
    let (mut house, joined) = one_app(true).await;
    house.sealed(1, "apps/api").await;
    house.say(&joined, "fleet/api", |_| {}).await;
    house.push(2, true).await;
    house.sealed(2, "apps/api").await;
    house.push(3, true).await;
    house.sealed(3, "apps/api").await;
    house
        .say(&joined, "fleet/api", |status| {
            (status.phase, status.health, status.message) =
                (Phase::Failed, Health::Degraded, "no image".into());
        })
        .await;
    let told = house.service.history(&app("api"), None, 20).await.unwrap().value;
    let outcomes: Vec<_> = told.0.iter().map(|row| (row.commit.clone(), row.outcome.as_str())).collect();
    let expected = [(3, "failed"), (2, "superseded"), (1, "delivered")];
    assert_eq!(outcomes, expected.map(|(number, outcome)| (commit(number).to_string(), outcome)));
    let (newest, oldest) = (&told.0[0], &told.0[2]);
    assert_eq!((newest.message.as_str(), newest.clusters_failed), ("paris: no image", 1));
    assert_eq!((oldest.subject.as_str(), oldest.clusters_healthy), ("Change 1", 1));
    assert!(oldest.seen_at_ms > 0 && oldest.finished_at_ms >= oldest.ordered_at_ms);
    assert_eq!(oldest.actor, "author:Ada <ada@example.com>");
    let (two, more) = house.service.history(&app("api"), Some(&cluster("paris")), 2).await.unwrap().value;
    assert_eq!((two.len(), more), (2, true));
}

#[tokio::test]
async fn a_delivery_that_a_person_asked_for_is_theirs() {
    let (house, _) = one_app(false).await;
    house.sealed(1, "apps/api").await;
    house.give(Command::Sync { app: app("api"), clusters: vec![] }).await.unwrap();
    let told = house.service.history(&app("api"), None, 20).await.unwrap().value.0;
    assert_eq!((told[0].actor.as_str(), told[0].outcome.as_str()), ("person:ada", "under way"));
    let filter = EventFilter { actor: "person:ada".into(), app: "api".into(), ..EventFilter::default() };
    assert_eq!(find(&house, Events { filter, ..all() }).await.events[0].reason, "because");
}

#[tokio::test]
async fn drift_is_counted_and_stands_until_it_is_healed() {
    let (mut house, joined) = one_app(true).await;
    house.sealed(1, "apps/api").await;
    let object =
        Key { group: "apps".into(), kind: "Deployment".into(), namespace: "web".into(), name: "api".into() };
    let state = |fact| AgentEvent {
        context: Context::new(Actor::Agent, wall()).app(&AppId::parse("fleet/api").unwrap()),
        fact,
    };
    let (fields, manager) = (vec![String::from("spec.replicas")], String::from("kubectl"));
    let begun = AgentFact::DriftBegun {
        object: object.clone(),
        fields: fields.clone(),
        manager: manager.clone(),
        gone: false,
    };
    house.tell(&joined, state(begun)).await;
    let row = house.instance("api", "paris").await;
    assert_eq!((row.drifted_now, row.drift_healed_total), (1, 0));
    let healed = AgentFact::DriftHealed { object, fields, manager, lasted_ms: 1_500, attempts: 1 };
    house.tell(&joined, state(healed)).await;
    let row = house.instance("api", "paris").await;
    assert_eq!((row.drifted_now, row.drift_healed_total), (0, 1));
    let last = find(&house, all()).await.events.pop().unwrap();
    assert_eq!(
        last.summary,
        "Deployment/web/api of api on paris is as applied again after 1.5 s: spec.replicas, taken by kubectl."
    );
}

#[tokio::test]
async fn parts_are_checked_one_by_one() {
    let (house, _) = one_app(true).await;
    let parts = house.service.check().await.value;
    let status = |name: &str| parts.iter().find(|part| part.name == name).unwrap().status();
    assert_eq!(
        (status("log"), status("nats"), status("clusters")),
        (PartStatus::Ok, PartStatus::Ok, PartStatus::Ok)
    );
    assert_eq!(status("git fleet"), PartStatus::Unknown, "nobody looked");
    house.push(9, false).await;
    assert!(parts.iter().all(|part| part.status() != PartStatus::Failed));
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_is_a_warning_and_the_hub_stays_ready() {
    let (house, _) = one_app(true).await;
    house.log.set_room(Room::Short { free: 5 << 20, reserve: 1 << 30 });
    let parts = house.service.check().await.value;
    let log = parts.iter().find(|part| part.name == "log").unwrap();
    assert_eq!(log.status(), PartStatus::Warning);
    assert_eq!(log.cause, "5 MiB of the disk are free and 1024 MiB are kept in reserve");
    assert!(log.message.ends_with("Nothing more is recorded."), "{}", log.message);
    assert!(parts.iter().all(|part| part.status() != PartStatus::Failed));
}
