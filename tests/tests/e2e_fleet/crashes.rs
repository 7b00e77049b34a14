//! `kill -9` in the middle of a delivery: nothing is lost, nothing is doubled, and every cluster arrives.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use taffrail_tests::harness::{Feed, wait_for};
use tokio::time::timeout;

use taffrail_tests::harness::apps::{App, config_map, everywhere, roots};
use taffrail_tests::harness::fleet::{BOUND, Fleet, tell};
use taffrail_tests::harness::live;

/// Objects of the app: enough that a delivery takes longer than a signal.
const OBJECTS: usize = 60;
/// The app.
const NAME: &str = "ledger";

#[tokio::test]
async fn a_delivery_survives_the_death_of_any_part() {
    tell("crashes", async |fleet| {
        let mut files = roots(fleet, &[App::automated(NAME)]);
        files.extend(ledger(fleet, "0"));
        let commit = fleet.git.commit("first", &files)?;
        fleet.hub.done(&["source", "add", &fleet.git.url()]).await?;
        fleet.healthy(NAME, &commit).await?;

        for (round, kind) in
            ["CommitSeen", "BundleSealed", "IndexRaised", "InstanceChanged"].into_iter().enumerate()
        {
            the_hub_dies_after(fleet, kind, &format!("hub-{round}"))
                .await
                .with_context(|| format!("hub, {kind}"))?;
        }
        an_agent_dies_between_two_objects(fleet).await.context("agent")?;
        nats_dies_after_the_index_was_raised(fleet).await.context("nats-server")
    })
    .await;
}

fn ledger(fleet: &Fleet, value: &str) -> Vec<(String, String)> {
    let page = |number| everywhere(fleet, NAME, &config_map(&format!("page-{number}"), value));
    (0..OBJECTS).flat_map(page).collect()
}

/// Reads on until an event of this kind names the commit.
async fn until(feed: &mut Feed, kind: &str, commit: &str) -> Result<Value> {
    let read = async {
        loop {
            let event = feed.next().await?;
            if event["kind"] == kind && event["commit"] == commit {
                return Ok(event);
            }
        }
    };
    timeout(BOUND, read).await.with_context(|| format!("no {kind} of {commit} within {BOUND:?}"))?
}

/// Every object of every cluster has the value.
async fn arrived(fleet: &Fleet, commit: &str, value: &str) -> Result<()> {
    fleet.healthy(NAME, commit).await?;
    for member in &fleet.members {
        for number in 0..OBJECTS {
            let object =
                member.live.get(&live::config_map(&member.namespace, &format!("page-{number}"))).await?;
            ensure!(object["data"]["value"] == value, "{}: {object}", member.name);
            ensure!(
                object["metadata"]["annotations"]["taffrail.dev/commit"] == commit,
                "{}: {object}",
                member.name
            );
        }
    }
    Ok(())
}

async fn the_hub_dies_after(fleet: &mut Fleet, kind: &str, value: &str) -> Result<()> {
    let mut feed = fleet.hub.follow(&[])?;
    let commit = fleet.push(value, &ledger(fleet, value)).await?;
    until(&mut feed, kind, &commit).await?;
    fleet.hub.kill();
    fleet.hub.restart().await?;
    arrived(fleet, &commit, value).await?;
    for revision in ["HEAD", "main"] {
        let seen = fleet.hub.events(&["--kind", "CommitSeen", "--commit", &commit]).await?;
        let of = |it: &&Value| {
            it["detail"]["track"]["revision"] == revision
                || it["detail"]["also"].to_string().contains(revision)
        };
        ensure!(seen.iter().filter(of).count() == 1, "{revision} was not seen once: {seen:?}");
    }
    let raised = fleet.hub.events(&["--kind", "IndexRaised", "--commit", &commit]).await?;
    ensure!(raised.len() <= fleet.members.len(), "indexes were raised twice: {raised:?}");
    Ok(())
}

async fn an_agent_dies_between_two_objects(fleet: &mut Fleet) -> Result<()> {
    let eu = fleet.member("eu-1");
    let path = |number| live::config_map(&eu.namespace, &format!("page-{number}"));
    let paths: Vec<String> = (0..OBJECTS).map(path).collect();
    let commit = fleet.push("agent", &ledger(fleet, "agent")).await?;
    let written = wait_for("the agent has applied some objects", BOUND, async || {
        for path in &paths {
            if eu.live.get(path).await?["data"]["value"] == "agent" {
                return Ok(Some(path));
            }
        }
        Ok(None)
    });
    written.await?;
    fleet.member_mut("eu-1").agent.kill();
    fleet.member_mut("eu-1").agent.restart()?;
    arrived(fleet, &commit, "agent").await?;
    let started = fleet.hub.events(&["--kind", "AgentStarted", "--cluster", "eu-1"]).await?;
    ensure!(started.len() == 2, "the agent started {} times", started.len());
    ensure!(started[1]["detail"]["journal"] == "found", "{}", started[1]);
    ensure!(started[0]["incarnation"] == started[1]["incarnation"], "{started:?}");
    Ok(())
}

async fn nats_dies_after_the_index_was_raised(fleet: &mut Fleet) -> Result<()> {
    let mut feed = fleet.hub.follow(&[])?;
    let old = fleet.hub.nats_pid()?;
    let commit = fleet.push("nats", &ledger(fleet, "nats")).await?;
    until(&mut feed, "BundleSealed", &commit).await?;
    fleet.hub.kill_nats()?;
    arrived(fleet, &commit, "nats").await?;
    ensure!(fleet.hub.nats_pid()? != old, "nats-server was not started again");
    let ready = wait_for("the hub is ready", BOUND, async || {
        let (status, text) = fleet.hub.get("/readyz?verbose").await?;
        ensure!(status == 200, "{text}");
        Ok(Some(()))
    });
    ready.await
}
