//! A commit travels to all clusters, and what others change there is taken back.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use taffrail_tests::tree::{APP, Overlay};

use taffrail_tests::harness::fleet::{Fleet, tell};
use taffrail_tests::harness::live::{config_map, deployment, path, service, version};

#[tokio::test]
async fn a_commit_reaches_every_cluster_and_drift_is_healed() {
    tell("delivery", async |fleet| {
        let first = fleet.first_delivery("payments-api:1.4.0").await?;
        objects_are_as_git_says(fleet, &first).await?;
        let before = quiet_objects(fleet).await?;
        a_new_commit_writes_what_it_changes(fleet, &first).await?;
        an_edited_field_is_taken_back(fleet).await?;
        a_deleted_object_comes_back(fleet).await?;
        ensure!(quiet_objects(fleet).await? == before, "objects that nothing changed were written");
        Ok(())
    })
    .await;
}

async fn objects_are_as_git_says(fleet: &Fleet, commit: &str) -> Result<()> {
    for member in &fleet.members {
        let app = member.live.get(&deployment(&member.namespace, APP)).await?;
        ensure!(app["spec"]["replicas"] == member.overlay.replicas(), "{}: {}", member.name, app["spec"]);
        ensure!(app["status"]["readyReplicas"] == member.overlay.replicas(), "{}: {app}", member.name);
        let image = &app["spec"]["template"]["spec"]["containers"][0]["image"];
        ensure!(image == "payments-api:1.4.0", "{}: {image}", member.name);
        let paths = [
            (APP, deployment(&member.namespace, APP)),
            (APP, config_map(&member.namespace, APP)),
            (APP, service(&member.namespace, APP)),
            ("policies", path("api/v1", &member.namespace, "limitranges", "defaults")),
        ];
        for (app, path) in paths {
            let metadata = member.live.get(&path).await?["metadata"].take();
            ensure!(metadata["labels"]["taffrail.dev/app"] == app, "{path}: {metadata}");
            ensure!(
                metadata["annotations"]["taffrail.dev/app"] == format!("{}/{app}", fleet.name),
                "{path}: {metadata}"
            );
            ensure!(metadata["annotations"]["taffrail.dev/commit"] == commit, "{path}: {metadata}");
        }
        let elsewhere = fleet.members.iter().filter(|other| other.name != member.name);
        for other in elsewhere {
            let stray = member.live.find(&path("api/v1", "", "namespaces", &other.namespace)).await?;
            ensure!(stray.is_none(), "{} has the namespace of {}", member.name, other.name);
        }
    }
    Ok(())
}

/// Versions of all objects that no phase of the story has a reason to write.
async fn quiet_objects(fleet: &Fleet) -> Result<Vec<String>> {
    let mut versions = Vec::new();
    for member in &fleet.members {
        let quiet = [
            path("api/v1", &member.namespace, "limitranges", "defaults"),
            path("apis/networking.k8s.io/v1", &member.namespace, "networkpolicies", "inside-the-namespace"),
        ];
        for path in quiet {
            versions.push(version(&member.live.get(&path).await?));
        }
        if member.name != "lab" {
            versions.push(version(&member.live.get(&config_map(&member.namespace, APP)).await?));
        }
        if member.name != "us-1" {
            versions.push(version(&member.live.get(&service(&member.namespace, APP)).await?));
        }
    }
    Ok(versions)
}

async fn a_new_commit_writes_what_it_changes(fleet: &Fleet, first: &str) -> Result<()> {
    let lab = fleet.member("lab");
    let before = lab.live.get(&deployment(&lab.namespace, APP)).await?;
    let image = fleet.tree(lab).image(Overlay::Production, "payments-api:1.5.0");
    let commit = fleet.push("production runs 1.5.0", &[image]).await?;
    for (cluster, commit) in [("eu-1", commit.as_str()), ("us-1", &commit), ("lab", first)] {
        fleet
            .instance(APP, cluster, "is healthy", |it| {
                it["sync"] == "Synced" && it["health"] == "Healthy" && it["runningCommit"] == commit
            })
            .await?;
    }
    // Also where it changes nothing, and with a later one.
    for commit in [first, &commit] {
        fleet.hub.done(&["wait", APP, "--for=healthy", "--commit", commit, "--timeout", "60s"]).await?;
    }
    for name in ["eu-1", "us-1"] {
        let member = fleet.member(name);
        let app = member.live.get(&deployment(&member.namespace, APP)).await?;
        ensure!(app["spec"]["template"]["spec"]["containers"][0]["image"] == "payments-api:1.5.0", "{app}");
        ensure!(app["metadata"]["annotations"]["taffrail.dev/commit"] == commit, "{app}");
        let untouched = member.live.get(&service(&member.namespace, APP)).await?;
        ensure!(untouched["metadata"]["annotations"]["taffrail.dev/commit"] == first, "{untouched}");
    }
    let after = lab.live.get(&deployment(&lab.namespace, APP)).await?;
    ensure!(
        version(&after) == version(&before),
        "the commit does not concern lab, and its Deployment was written"
    );
    Ok(())
}

async fn an_edited_field_is_taken_back(fleet: &Fleet) -> Result<()> {
    let lab = fleet.member("lab");
    let path = config_map(&lab.namespace, APP);
    lab.live.edit(&path, "kubectl-edit", &json!({"data": {"LOG_LEVEL": "debug", "OTHERS": "stay"}})).await?;
    let healed = lab.live.until(&path, "is healed", |it| it["data"]["LOG_LEVEL"] == "info").await?;
    ensure!(healed["data"]["OTHERS"] == "stay", "a field that Git does not name was touched: {healed}");
    for kind in ["DriftBegun", "DriftHealed"] {
        let event = fleet.event(&["--kind", kind, "--cluster", "lab"], |_| true).await?;
        let detail = &event["detail"];
        ensure!(detail["manager"] == "kubectl-edit", "{event}");
        ensure!(detail["object"]["kind"] == "ConfigMap" && detail["object"]["name"] == APP, "{event}");
        let fields: Vec<&str> =
            detail["fields"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        ensure!(fields.len() == 1 && fields[0].contains("LOG_LEVEL"), "{event}");
    }
    fleet
        .instance(APP, "lab", "has one healed drift", |it| {
            it["sync"] == "Synced" && it["driftHealedTotal"] == 1 && it["driftedNow"] == 0
        })
        .await?;
    Ok(())
}

async fn a_deleted_object_comes_back(fleet: &Fleet) -> Result<()> {
    let us = fleet.member("us-1");
    let path = service(&us.namespace, APP);
    let before = us.live.get(&path).await?;
    us.live.delete(&path).await?;
    let uid = before["metadata"]["uid"].clone();
    us.live.until(&path, "is back", |it| it["metadata"]["uid"] != uid).await?;
    let begun = fleet.event(&["--kind", "DriftBegun", "--cluster", "us-1"], |_| true).await?;
    ensure!(begun["detail"]["gone"] == true && begun["detail"]["object"]["kind"] == "Service", "{begun}");
    let healed = fleet.event(&["--kind", "DriftHealed", "--cluster", "us-1"], |_| true).await?;
    ensure!(healed["detail"]["object"]["kind"] == "Service" && healed["app"] != "", "{healed}");
    Ok(())
}
