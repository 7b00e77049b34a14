//! What waits for a person: apps that are synced by hand, drift that is only reported, history that was rewritten.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use taffrail_tests::harness::wait_for;

use taffrail_tests::harness::apps::{App, config_map, everywhere, roots};
use taffrail_tests::harness::fleet::{BOUND, Fleet, tell};
use taffrail_tests::harness::live;

#[tokio::test]
async fn what_waits_for_a_person_waits_until_they_say_so() {
    tell("orders", async |fleet| {
        let manual = App { automated: Value::Null, ..App::automated("manual") };
        let loose = App { automated: json!({"prune": true}), ..App::automated("loose") };
        let mut files = roots(fleet, &[manual, loose]);
        files.extend(everywhere(fleet, "manual", &config_map("manual", "1")));
        files.extend(everywhere(fleet, "loose", &config_map("loose", "1")));
        let commit = fleet.git.commit("two apps", &files)?;
        fleet.hub.done(&["source", "add", &fleet.git.url()]).await?;
        fleet.healthy("loose", &commit).await?;

        a_manual_app_is_delivered_by_sync(fleet, &commit).await?;
        drift_is_reported_and_sync_restores(fleet).await?;
        a_rewritten_history_parks_the_source(fleet).await
    })
    .await;
}

async fn value(fleet: &Fleet, cluster: &str, name: &str) -> Result<Option<Value>> {
    let member = fleet.member(cluster);
    let found = member.live.find(&live::config_map(&member.namespace, name)).await?;
    Ok(found.map(|mut object| object["data"]["value"].take()))
}

async fn a_manual_app_is_delivered_by_sync(fleet: &Fleet, first: &str) -> Result<()> {
    for member in &fleet.members {
        fleet.instance("manual", member.name, "waits for a sync", |it| it["sync"] == "OutOfSync").await?;
        ensure!(value(fleet, member.name, "manual").await?.is_none(), "{} has it already", member.name);
    }
    fleet.hub.done(&["sync", "manual", "--cluster", "lab", "--reason", "try it in the lab"]).await?;
    fleet
        .instance("manual", "lab", "is synced", |it| it["sync"] == "Synced" && it["runningCommit"] == first)
        .await?;
    ensure!(value(fleet, "eu-1", "manual").await?.is_none(), "eu-1 got what was asked for lab");
    let asked = fleet.event(&["--kind", "SyncRequested"], |_| true).await?;
    ensure!(
        asked["reason"] == "try it in the lab" && asked["detail"]["clusters"] == json!(["lab"]),
        "{asked}"
    );
    fleet.hub.done(&["sync", "manual", "--wait", "--timeout", "60s"]).await?;
    fleet.healthy("manual", first).await?;

    let mut files = everywhere(fleet, "manual", &config_map("manual", "2"));
    files.extend(everywhere(fleet, "loose", &config_map("loose", "2")));
    let second = fleet.push("both change", &files).await?;
    fleet.healthy("loose", &second).await?;
    for member in &fleet.members {
        fleet.instance("manual", member.name, "waits for a sync", |it| it["sync"] == "OutOfSync").await?;
        ensure!(value(fleet, member.name, "manual").await? == Some(json!("1")), "{} was synced", member.name);
    }
    fleet.hub.done(&["sync", "manual"]).await?;
    fleet.healthy("manual", &second).await?;
    ensure!(
        value(fleet, "us-1", "manual").await? == Some(json!("2")),
        "us-1 is synced and has the old value"
    );
    Ok(())
}

async fn drift_is_reported_and_sync_restores(fleet: &Fleet) -> Result<()> {
    let eu = fleet.member("eu-1");
    let path = live::config_map(&eu.namespace, "loose");
    eu.live.edit(&path, "intern", &json!({"data": {"value": "by hand"}})).await?;
    fleet
        .instance("loose", "eu-1", "is out of sync", |it| it["sync"] == "OutOfSync" && it["driftedNow"] == 1)
        .await?;
    let begun = fleet.event(&["--kind", "DriftBegun", "--cluster", "eu-1"], |_| true).await?;
    ensure!(
        begun["detail"]["manager"] == "intern" && begun["detail"]["object"]["name"] == "loose",
        "{begun}"
    );
    ensure!(value(fleet, "eu-1", "loose").await? == Some(json!("by hand")), "healed against the policy");
    fleet.hub.done(&["sync", "loose", "--cluster", "eu-1"]).await?;
    eu.live.until(&path, "is restored", |it| it["data"]["value"] == "2").await?;
    let healed = fleet.event(&["--kind", "DriftHealed", "--cluster", "eu-1"], |_| true).await?;
    ensure!(healed["detail"]["manager"] == "intern", "{healed}");
    fleet
        .instance("loose", "eu-1", "is synced", |it| it["sync"] == "Synced" && it["driftedNow"] == 0)
        .await?;
    Ok(())
}

async fn a_rewritten_history_parks_the_source(fleet: &Fleet) -> Result<()> {
    let old = fleet.git.head()?;
    fleet.git.work.git(&["reset", "--quiet", "--hard", "HEAD~1"])?;
    for (path, text) in everywhere(fleet, "loose", &config_map("loose", "rewritten")) {
        fleet.git.work.write(&path, &text)?;
    }
    let new = fleet.git.work.commit("another second commit")?;
    fleet.git.work.push("+main")?;
    fleet.hub.announce(&fleet.git.url()).await?;
    // The source follows HEAD, the apps follow main.
    for revision in ["HEAD", "main"] {
        let of = |it: &Value| it["detail"]["track"]["revision"] == revision;
        let rewritten = fleet.event(&["--kind", "HistoryRewritten"], of).await?;
        ensure!(rewritten["detail"]["old"] == old && rewritten["detail"]["new"] == new, "{rewritten}");
    }
    let source = wait_for("the source is parked", BOUND, async || {
        let sources = fleet.hub.json(&["get", "sources"]).await?;
        Ok(Some(sources["items"][0].clone()).filter(|source| source["status"] == "Parked"))
    });
    let source = source.await?;
    ensure!(source["parkedCommit"] == old || source["headCommit"] == old, "{source}");
    for member in &fleet.members {
        let instance = fleet.instance("loose", member.name, "stays", |it| it["sync"] == "Synced").await?;
        ensure!(instance["runningCommit"] == old, "{instance}");
        ensure!(value(fleet, member.name, "loose").await? == Some(json!("2")), "{} followed", member.name);
    }
    fleet.hub.done(&["source", "allow", "orders", "--reason", "agreed"]).await?;
    fleet.healthy("loose", &new).await?;
    for member in &fleet.members {
        ensure!(value(fleet, member.name, "loose").await? == Some(json!("rewritten")), "{}", member.name);
    }
    let allowed = fleet.event(&["--kind", "SourceAllowed"], |_| true).await?;
    ensure!(allowed["detail"]["commit"] == new, "{allowed}");
    Ok(())
}
