//! What rows say on the way from a commit to a healthy instance.

use super::house::{House, commit, declared};
use crate::api::service::{Apps, Command, Detail, Fleet as _};
use crate::log::Log as _;
use serde_json::json;
use taffrail_core::event::agent::{Phase, Trouble};
use taffrail_core::health::{Cause, Health};
use taffrail_core::node::hub::Outcome;
use taffrail_core::object::Key;
use taffrail_proto::bundle;
use taffrail_proto::v1::{ConnectionStatus, HealthStatus, SourceStatus, SyncStatus};

fn deployment() -> Key {
    Key { group: "apps".into(), kind: "Deployment".into(), namespace: "web".into(), name: "api".into() }
}

/// A fleet of one cluster with one app that follows Git by itself.
pub(super) async fn one_app(automated: bool) -> (House, taffrail_proto::join::Joined) {
    let house = House::new().await;
    house.add_source().await;
    let joined = house.join("paris").await;
    house.push(1, true).await;
    house.read(1, "paris", vec![declared("api", automated)]).await;
    (house, joined)
}

#[tokio::test]
async fn an_instance_goes_from_ordered_to_synced_and_healthy() {
    let (mut house, joined) = one_app(true).await;
    let row = house.instance("api", "paris").await;
    assert_eq!((row.sync(), row.health()), (SyncStatus::Syncing, HealthStatus::Unknown), "not rendered yet");
    house.sealed(1, "apps/api").await;
    let row = house.instance("api", "paris").await;
    assert_eq!((row.sync(), row.desired_commit.as_str()), (SyncStatus::Syncing, commit(1).as_str()));
    assert_eq!(row.running_commit, "");
    house.say(&joined, "fleet/api", |_| {}).await;
    let row = house.instance("api", "paris").await;
    assert_eq!((row.sync(), row.health()), (SyncStatus::Synced, HealthStatus::Healthy));
    assert_eq!(
        (row.running_commit.as_str(), row.connection()),
        (commit(1).as_str(), ConnectionStatus::Connected)
    );
    let whole = house.app("api").await;
    assert_eq!(
        (whole.source.as_str(), whole.namespace.as_str(), whole.path.as_str()),
        ("fleet", "web", "apps/api")
    );
    house.push(2, true).await;
    house.sealed(2, "apps/api").await;
    let row = house.instance("api", "paris").await;
    assert_eq!(row.sync(), SyncStatus::Syncing, "what was said of the old bundle is not said of the new one");
}

#[tokio::test]
async fn a_failing_rollout_names_its_cause() {
    let (mut house, joined) = one_app(true).await;
    house.sealed(1, "apps/api").await;
    let words = "pod api-1: Back-off pulling image";
    house
        .say(&joined, "fleet/api", |status| {
            (status.phase, status.health) = (Phase::Syncing, Health::Degraded);
            status.troubles =
                vec![Trouble { object: deployment(), cause: Some(Cause::ImagePull), message: words.into() }];
        })
        .await;
    let row = house.instance("api", "paris").await;
    assert_eq!((row.sync(), row.health()), (SyncStatus::Syncing, HealthStatus::Degraded));
    let cause = &row.causes[0];
    assert_eq!((cause.object.as_str(), cause.cause.as_str()), ("Deployment/web/api", "ImagePullBackOff"));
    assert_eq!(cause.message, words);
}

#[tokio::test]
async fn a_newer_commit_of_a_manual_app_waits_for_a_person() {
    let (mut house, joined) = one_app(false).await;
    house.sealed(1, "apps/api").await;
    let row = house.instance("api", "paris").await;
    assert_eq!((row.sync(), row.conditions[0].kind.as_str()), (SyncStatus::OutOfSync, "NewerCommit"));
    let done = house.give(Command::Sync { app: super::house::app("api"), clusters: vec![] }).await.unwrap();
    assert_eq!(done.clusters, ["paris"]);
    house.say(&joined, "fleet/api", |_| {}).await;
    assert_eq!(house.instance("api", "paris").await.sync(), SyncStatus::Synced);
    house.push(2, true).await;
    house.sealed(2, "apps/api").await;
    assert_eq!(house.instance("api", "paris").await.sync(), SyncStatus::OutOfSync);
}

#[tokio::test]
async fn what_cannot_be_rendered_is_out_of_sync_and_says_why() {
    let (mut house, joined) = one_app(true).await;
    house.sealed(1, "apps/api").await;
    house.say(&joined, "fleet/api", |_| {}).await;
    house.push(2, true).await;
    let cause = String::from("mapping values are not allowed here");
    let failed =
        Outcome::Failed { file: Some("apps/api/a.yaml".into()), document: Some(2), line: Some(7), cause };
    house.render(2, "apps/api", failed).await;
    let row = house.instance("api", "paris").await;
    assert_eq!((row.sync(), row.running_commit.as_str()), (SyncStatus::OutOfSync, commit(1).as_str()));
    let said = &row.conditions[0];
    assert!(said.kind == "RenderFailed" && said.message.contains("apps/api/a.yaml:7"), "{said:?}");
    house.push(1, true).await;
    house.sealed(1, "apps/api").await;
    assert_eq!(house.instance("api", "paris").await.sync(), SyncStatus::Synced, "the revert heals it");
}

#[tokio::test]
async fn a_guard_shows_what_waits_and_lets_it_pass_once() {
    let (mut house, joined) = one_app(true).await;
    house.sealed(1, "apps/api").await;
    house
        .say(&joined, "fleet/api", |status| {
            (status.phase, status.message) = (Phase::Parked, "1 objects wait".into());
            status.held = vec![deployment()];
        })
        .await;
    let row = house.instance("api", "paris").await;
    assert_eq!((row.sync(), row.parked_reason.as_str()), (SyncStatus::Parked, "1 objects wait"));
    assert_eq!((row.approvals[0].what.as_str(), row.approvals[0].objects.len()), ("prune", 1));
    let seen = row.approvals[0].bundle.clone();
    let approve = |what: &str| Command::Approve {
        app: super::house::app("api"),
        cluster: super::house::cluster("paris"),
        what: Some(what.into()),
        bundle: Some(seen[..12].into()),
    };
    assert_eq!(house.give(approve("shrink")).await.unwrap_err().code(), "API-005");
    let mut other = approve("prune");
    if let Command::Approve { bundle, .. } = &mut other {
        *bundle = Some("0123456789ab".into());
    }
    let refused = house.give(other).await.unwrap_err();
    assert_eq!(refused.code(), "API-005");
    assert!(refused.to_string().contains("another bundle"), "{refused}");
    assert_eq!(house.instance("api", "paris").await.approvals.len(), 1, "nothing was approved");
    assert!(house.give(approve("prune")).await.unwrap().done.changed);
    assert_eq!(house.instance("api", "paris").await.approvals, []);
    assert_eq!(house.give(approve("prune")).await.unwrap_err().code(), "API-005", "only once");
}

#[tokio::test]
async fn objects_are_those_of_the_bundle_with_what_was_said_of_them() {
    let (mut house, joined) = one_app(true).await;
    let object = |kind: &str, name: &str| json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "web"}});
    let made = bundle::encode(&[object("Deployment", "api"), object("DaemonSet", "logs")]).unwrap();
    house.log.put_blob(made.digest, made.compressed).await.unwrap();
    let (digest, inputs) = (made.digest, vec!["apps/api".into()]);
    let outcome = Outcome::Sealed { digest, sealed: digest, size: 9, objects: 2, inputs };
    house.render(1, "apps/api", outcome).await;
    house
        .say(&joined, "fleet/api", |status| {
            (status.phase, status.health) = (Phase::Failed, Health::Degraded);
            status.troubles = vec![Trouble { object: deployment(), cause: None, message: "no quota".into() }];
        })
        .await;
    let row = house.look_at("api", Detail::Objects).await.instances.pop().unwrap();
    let shown: Vec<_> =
        row.objects.iter().map(|object| (object.name.as_str(), object.sync(), object.health())).collect();
    assert_eq!(
        shown,
        [
            ("logs", SyncStatus::Unknown, HealthStatus::Unknown),
            ("api", SyncStatus::Failed, HealthStatus::Degraded)
        ]
    );
    assert_eq!(house.app("api").await.instances[0].objects, [], "only if asked for");
    house.log.remove_blob(digest).await.unwrap();
    let row = house.look_at("api", Detail::Objects).await.instances.pop().unwrap();
    assert_eq!(row.conditions.last().unwrap().kind, "BundleGone", "gone is not empty");
}

#[tokio::test]
async fn an_app_that_cannot_be_placed_says_why() {
    let house = House::new().await;
    house.add_source().await;
    house.join("paris").await;
    house.push(1, true).await;
    let mut foreign = declared("api", true);
    foreign.repo_url = "https://git.example.com/other".into();
    let mut lost = declared("lost", true);
    lost.destination = taffrail_core::catalog::Destination::Cluster(super::house::cluster("rome"));
    house.read(1, "paris", vec![foreign, lost]).await;
    let row = house.instance("api", "paris").await;
    assert_eq!((row.sync(), row.conditions[0].kind.as_str()), (SyncStatus::OutOfSync, "NotPlaced"));
    let row = house.app("lost").await;
    assert_eq!((row.instances.len(), row.conditions[0].kind.as_str()), (0, "NoCluster"));
    let clusters = house.service.clusters().await.unwrap().value;
    assert_eq!(clusters[0].conditions[0].kind, "NotPlaced");
    assert_eq!(house.service.apps(&Apps::default(), Detail::Instances).await.unwrap().value.len(), 2);
}

#[tokio::test]
async fn a_rewritten_history_parks_the_source_until_it_is_allowed() {
    let (house, _) = one_app(true).await;
    assert_eq!(house.source().await.status(), SourceStatus::Followed);
    house.push(9, false).await;
    let row = house.source().await;
    assert_eq!((row.status(), row.parked_commit.as_str()), (SourceStatus::Parked, commit(1).as_str()));
    assert!(row.message.contains("taffrail source allow fleet"), "{}", row.message);
    let allow = || Command::AllowSource { name: taffrail_core::id::SourceName::parse("fleet").unwrap() };
    house.give(allow()).await.unwrap();
    let row = house.source().await;
    assert_eq!((row.status(), row.head_commit.as_str()), (SourceStatus::Followed, commit(9).as_str()));
    assert_eq!(house.give(allow()).await.unwrap_err().code(), "API-005");
}

#[tokio::test]
async fn a_commit_is_considered_once_its_source_is_read_and_its_app_rendered() {
    let (house, _) = one_app(true).await;
    house.sealed(1, "apps/api").await;
    let first = house.instance("api", "paris").await.considered;
    assert_eq!((first.len(), first[0].commit.as_str()), (1, commit(1).as_str()));
    house.push(2, true).await;
    assert_eq!(house.instance("api", "paris").await.considered, [], "seen, and not yet read");
    house.read(2, "paris", vec![declared("api", true)]).await;
    assert_eq!(house.instance("api", "paris").await.considered, [], "read, and not yet rendered");
    house.sealed(2, "apps/api").await;
    let second = house.instance("api", "paris").await.considered;
    assert_eq!((second.len(), second[0].commit.as_str()), (1, commit(2).as_str()));
    assert!(first[0].event_index < second[0].event_index, "{first:?} {second:?}");
}
