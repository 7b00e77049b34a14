//! Clusters fall silent, lose their disk, get another name and leave; apps leave Git.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::Value;
use taffrail_tests::harness::wait_for;

use taffrail_tests::harness::apps::{App, config_map, everywhere, roots};
use taffrail_tests::harness::fleet::{BOUND, Fleet, Settings, tell_with};
use taffrail_tests::harness::live;

#[tokio::test]
async fn clusters_fall_silent_lose_their_disk_and_leave() {
    // Short, so that silence does not take half a minute.
    let settings = Settings {
        hub: &[("cluster.lease", "3s")],
        agents: &[("hub.heartbeat", "1s")],
        ..Settings::default()
    };
    tell_with("membership", settings, async |fleet| {
        let mut files = roots(fleet, &[App::automated("stays"), App::automated("goes")]);
        files.extend(everywhere(fleet, "stays", &config_map("stays", "1")));
        files.extend(everywhere(fleet, "goes", &config_map("goes", "1")));
        let commit = fleet.git.commit("two apps", &files)?;
        fleet.hub.done(&["source", "add", &fleet.git.url()]).await?;
        fleet.healthy("stays", &commit).await?;
        fleet.healthy("goes", &commit).await?;

        a_silent_cluster_is_unknown(fleet).await?;
        a_lost_journal_is_told_and_costs_nothing(fleet).await?;
        an_app_that_left_git_leaves_its_objects(fleet).await?;
        a_removed_cluster_is_emptied_or_left_alone(fleet).await
    })
    .await;
}

async fn a_silent_cluster_is_unknown(fleet: &mut Fleet) -> Result<()> {
    fleet.member_mut("lab").agent.kill();
    let unknown =
        |it: &Value| it["connection"] == "Silent" && it["sync"] == "Unknown" && it["health"] == "Unknown";
    let silent = fleet.instance("stays", "lab", "is unknown", unknown).await?;
    ensure!(silent["reportedHealth"] == "Healthy", "{silent}");
    fleet.event(&["--kind", "ClusterSilent", "--cluster", "lab"], |_| true).await?;
    let check = fleet.hub.json(&["check"]).await?;
    ensure!(check.to_string().contains("1 of 3 are silent"), "{check}");
    fleet.member_mut("lab").agent.restart()?;
    fleet
        .instance("stays", "lab", "is back", |it| it["sync"] == "Synced" && it["health"] == "Healthy")
        .await?;
    fleet.event(&["--kind", "ClusterBack", "--cluster", "lab"], |_| true).await?;
    Ok(())
}

async fn a_lost_journal_is_told_and_costs_nothing(fleet: &mut Fleet) -> Result<()> {
    let eu = fleet.member("eu-1");
    let path = live::config_map(&eu.namespace, "stays");
    let before = live::version(&eu.live.get(&path).await?);
    let old = fleet.hub.events(&["--cluster", "eu-1", "--kind", "AgentStarted"]).await?;
    fleet.member_mut("eu-1").agent.stop().await?;
    let mut lost = 0;
    for entry in fs::read_dir(fleet.member("eu-1").agent.state_folder())?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("journal-") {
            fs::remove_file(entry.path())?;
            lost += 1;
        }
    }
    ensure!(lost == 1, "{lost} journals instead of one");
    fleet.member_mut("eu-1").agent.restart()?;
    let lost = fleet.event(&["--cluster", "eu-1", "--kind", "JournalLost"], |_| true).await?;
    ensure!(lost["incarnation"].as_u64() > old[0]["incarnation"].as_u64() && lost["seq"] == 1, "{lost}");
    let known =
        |it: &Value| it["sync"] == "Synced" && it["health"] == "Healthy" && it["connection"] == "Connected";
    fleet.instance("stays", "eu-1", "is healthy", known).await?;
    let commit = fleet.push("after the loss", &everywhere(fleet, "goes", &config_map("goes", "2"))).await?;
    fleet.healthy("goes", &commit).await?;
    let eu = fleet.member("eu-1");
    ensure!(
        live::version(&eu.live.get(&path).await?) == before,
        "an object that did not change was written again"
    );
    Ok(())
}

async fn an_app_that_left_git_leaves_its_objects(fleet: &Fleet) -> Result<()> {
    let commit = fleet.push("goes goes", &roots(fleet, &[App::automated("stays")])).await?;
    for member in &fleet.members {
        let gone = fleet.event(&["--cluster", member.name, "--kind", "Withdrawn"], |_| true).await?;
        ensure!(gone["detail"]["deleted"] == 0 && gone["detail"]["kept"] == 1, "{gone}");
        member.live.get(&live::config_map(&member.namespace, "goes")).await?;
    }
    wait_for("the app is gone from the list", BOUND, async || {
        let apps = fleet.hub.json(&["get", "apps"]).await?;
        let names: Vec<&Value> =
            apps["items"].as_array().into_iter().flatten().map(|app| &app["name"]).collect();
        ensure!(names == ["stays"], "{names:?}");
        Ok(Some(()))
    })
    .await?;
    // Nobody heals what nobody owns.
    let lab = fleet.member("lab");
    lab.live.delete(&live::config_map(&lab.namespace, "goes")).await?;
    let again = fleet
        .push("and comes back", &roots(fleet, &[App::automated("stays"), App::automated("goes")]))
        .await?;
    ensure!(commit != again, "nothing was pushed");
    for member in &fleet.members {
        fleet
            .instance("goes", member.name, "is back", |it| {
                it["sync"] == "Synced" && it["health"] == "Healthy"
            })
            .await?;
        let object = member.live.get(&live::config_map(&member.namespace, "goes")).await?;
        ensure!(object["data"]["value"] == "2", "{object}");
    }
    Ok(())
}

async fn a_removed_cluster_is_emptied_or_left_alone(fleet: &Fleet) -> Result<()> {
    let refused = fleet.hub.cli(&["cluster", "remove", "us-1"]).await?;
    ensure!(refused.code != 0, "removed without asking: {refused:?}");
    fleet.hub.done(&["cluster", "remove", "us-1", "--yes"]).await?;
    fleet.hub.done(&["cluster", "remove", "lab", "--cascade", "--yes"]).await?;
    wait_for("both have left", BOUND, async || {
        let clusters = fleet.hub.json(&["get", "clusters"]).await?;
        let rows = clusters["items"].as_array().into_iter().flatten();
        let names: Vec<&Value> = rows.map(|row| &row["name"]).collect();
        ensure!(names == ["eu-1"], "{clusters}");
        Ok(Some(()))
    })
    .await?;
    let (lab, us) = (fleet.member("lab"), fleet.member("us-1"));
    for member in [lab, us] {
        wait_for("the agent knows that it was removed", BOUND, async || {
            Ok((member.agent.metric("removed").await? == 1).then_some(()))
        })
        .await?;
        let log = fs::read_to_string(member.agent.log_file())?;
        ensure!(log.contains("cluster was removed from the fleet"), "{}: {log}", member.name);
    }
    for name in ["stays", "goes"] {
        us.live.get(&live::config_map(&us.namespace, name)).await?;
        let left = lab.live.find(&live::config_map(&lab.namespace, name)).await?;
        ensure!(left.is_none(), "removed with --cascade, and it is there: {left:?}");
    }
    Ok(())
}
