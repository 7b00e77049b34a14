//! An agent's disk, identity and clock.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use taffrail_tests::harness::fleet::{BOUND, Fleet, Settings, tell_with};
use taffrail_tests::harness::load::{Load, NAME};
use taffrail_tests::harness::observer::Observer;
use taffrail_tests::harness::{Agent, Random, wait_for};

use super::{AGENTS, HUB, LEASE, times};

#[tokio::test]
async fn a_lost_disk_costs_no_number_and_no_object() {
    let seed = Random::seed("disks");
    let settings = Settings { hub: HUB, agents: AGENTS, ..Settings::default() };
    tell_with("disks", settings, async |fleet| {
        let mut load = Load::start(fleet, 8).await?;
        let observer = Observer::start(fleet, &load, LEASE);
        load.run(fleet, seed);
        for round in 0..times(1, 5) {
            for cluster in ["lab", "eu-1"] {
                a_disk_is_lost(fleet, cluster).await.with_context(|| format!("{cluster}, round {round}"))?;
            }
        }
        load.end(fleet).await?;
        observer.judge().await
    })
    .await;
}

#[tokio::test]
async fn of_two_agents_with_one_identity_one_acts_and_numbers_are_never_used_twice() {
    let settings = Settings {
        hub: HUB,
        agents: &[("hub.heartbeat", "2s"), ("kube.lease", "true")],
        meant: &["journal cannot be used and is kept aside", "another agent of this cluster holds the lease"],
        ..Settings::default()
    };
    tell_with("twins", settings, async |fleet| {
        let mut load = Load::start(fleet, 4).await?;
        let observer = Observer::start(fleet, &load, LEASE);
        load.run(fleet, 7);
        let before = incarnations(fleet, "lab").await?;
        let mut twin = fleet.twin("lab")?;
        wait_for("the twin waits for the lease", BOUND, async || {
            let log = fs::read_to_string(twin.log_file())?;
            Ok(log.contains("waiting for the lease").then_some(()))
        })
        .await?;
        for (round, takes_over) in ["the twin", "the first one again"].into_iter().enumerate() {
            ensure!(incarnations(fleet, "lab").await?.len() == before.len() + round, "two of them speak");
            // Whoever leads dies and comes back as the one that waits; the fleet's agent is the one that leads.
            let first = &mut fleet.member_mut("lab").agent;
            first.kill();
            std::mem::swap(first, &mut twin);
            wait_for("the other one speaks", BOUND, async || {
                let now = incarnations(fleet, "lab").await?;
                ensure!(now.len() == before.len() + round + 1, "{takes_over}: incarnations {now:?}");
                Ok(Some(()))
            })
            .await?;
            twin.restart()?;
        }
        twin.stop().await?;
        load.end(fleet).await?;
        observer.judge().await
    })
    .await;
}

/// What is said of a journal that another agent has used.
const COPIED: &[&str] = &[
    "another agent has spoken with this identity",
    "journal cannot be used and is kept aside",
    "hub refused the events",
    "task ended early",
];

#[tokio::test]
async fn a_copied_journal_is_found_out_told_and_followed_by_a_new_one() {
    let settings = Settings { hub: HUB, agents: AGENTS, meant: COPIED, ..Settings::default() };
    tell_with("copies", settings, async |fleet| {
        let mut load = Load::start(fleet, 4).await?;
        let observer = Observer::start(fleet, &load, LEASE);
        load.run(fleet, 7);
        let before = incarnations(fleet, "lab").await?;
        let mut copy = copied(fleet, "lab").await?;
        // The copy ends by itself: the hub has events of these numbers that it never sent.
        let ended = wait_for("the copy ends", BOUND, async || copy.ended()).await?;
        let log = fs::read_to_string(copy.log_file())?;
        ensure!(!ended.success() && log.contains("has spoken with incarnation"), "{ended}: {log}");
        ensure!(incarnations(fleet, "lab").await? == before, "what the copy numbered is in the log");

        copy.restart()?;
        wait_for("the copy begins a journal of its own", BOUND, async || {
            Ok((incarnations(fleet, "lab").await?.len() == before.len() + 1).then_some(()))
        })
        .await?;
        fleet.event(&["--kind", "JournalLost", "--cluster", "lab"], |_| true).await?;
        // Now the first one is of an incarnation that is over; people are told that two have one identity.
        fleet.event(&["--kind", "EventRefused", "--cluster", "lab"], |_| true).await?;
        let check = fleet.hub.cli(&["check"]).await?;
        ensure!(check.stdout.contains("Events of lab are refused"), "{check:?}");
        let clusters = fleet.hub.json(&["get", "clusters"]).await?;
        for row in clusters["items"].as_array().context("clusters")? {
            let told = row["conditions"].to_string().contains("EventsRefused");
            ensure!(told == (row["name"] == "lab"), "{row}");
        }
        let first = &mut fleet.member_mut("lab").agent;
        std::mem::swap(first, &mut copy);
        copy.stop().await?;
        load.end(fleet).await?;
        let refused = fleet.hub.events(&["--kind", "EventRefused"]).await?;
        ensure!(refused.iter().all(|event| event["cluster"] == "lab"), "others are concerned: {refused:?}");
        ensure!(incarnations(fleet, "lab").await?.len() == before.len() + 1, "one more than two journals");
        observer.judge().await
    })
    .await;
}

/// One more agent with the identity of a member and a copy of its journal, started once the member has gone on.
async fn copied(fleet: &mut Fleet, cluster: &str) -> Result<Agent> {
    fleet.member_mut(cluster).agent.kill();
    let disk = fleet.copied_disk(cluster)?;
    let before = fleet.hub.events(&["--cluster", cluster]).await?.len();
    fleet.member_mut(cluster).agent.restart()?;
    wait_for("the first one goes on", BOUND, async || {
        Ok((fleet.hub.events(&["--cluster", cluster]).await?.len() > before + 4).then_some(()))
    })
    .await?;
    fleet.second(cluster, &disk)
}

/// Seconds of a day.
const DAY: i64 = 86_400;

#[tokio::test]
async fn clocks_that_are_a_day_off_stop_nothing_and_change_no_order() {
    let settings = Settings { hub: HUB, agents: AGENTS, clocks: true, ..Settings::default() };
    tell_with("clocks", settings, async |fleet| {
        let mut load = Load::start(fleet, 4).await?;
        let mut observer = Observer::start(fleet, &load, LEASE);
        load.run(fleet, 7);
        // With its clock a day behind no agent can start here: the certificates of the API servers are younger.
        for (ahead, starts_anew) in [(DAY, true), (-DAY, false), (0, true)] {
            let lab = fleet.member_mut("lab");
            lab.clock.as_ref().context("a clock")?.set(ahead)?;
            silence_is_still_noticed(fleet, &mut observer).await.context("an agent's clock is set")?;
            if starts_anew {
                fleet.member_mut("lab").agent.restart()?;
                silence_is_still_noticed(fleet, &mut observer).await.context("the agent starts anew")?;
            }
        }
        // A hub that started a day ahead, and whose log ends there when its clock is right again.
        for ahead in [DAY, 0] {
            fleet.clock.as_ref().context("a clock")?.set(ahead)?;
            silence_is_still_noticed(fleet, &mut observer).await.context("the hub's clock is set")?;
            fleet.hub.restart().await?;
            silence_is_still_noticed(fleet, &mut observer).await.context("the hub starts anew")?;
        }
        before_its_own_certificates_a_hub_says_so_and_does_not_start(fleet).await?;
        silence_is_still_noticed(fleet, &mut observer).await.context("the hub's clock is right again")?;
        load.end(fleet).await?;
        let silent = fleet.hub.events(&["--kind", "ClusterSilent"]).await?;
        let other = silent.iter().find(|event| event["cluster"] != "eu-1");
        ensure!(other.is_none(), "called silent because of a clock: {other:?}");
        observer.judge().await
    })
    .await;
}

async fn before_its_own_certificates_a_hub_says_so_and_does_not_start(fleet: &mut Fleet) -> Result<()> {
    let clock = fleet.clock.clone().context("a clock")?;
    clock.set(-DAY)?;
    let refused = fleet.hub.restart().await.err().context("the hub starts before its certificates begin")?;
    let told = format!("{refused:#}");
    ensure!(told.contains("this machine's clock is behind"), "it names no clock: {told}");
    clock.set(0)?;
    fleet.hub.restart().await
}

/// An agent dies, the hub says so; it comes back, and the hub says so.
async fn silence_is_still_noticed(fleet: &mut Fleet, observer: &mut Observer) -> Result<()> {
    let known = |it: &Value| it["connection"] == "Connected";
    for member in &fleet.members {
        fleet.instance(NAME, member.name, "is heard", known).await?;
    }
    fleet.member_mut("eu-1").agent.kill();
    observer.silent("eu-1");
    let unknown = |it: &Value| it["connection"] == "Silent" && it["health"] == "Unknown";
    fleet.instance(NAME, "eu-1", "is unknown", unknown).await?;
    observer.back("eu-1");
    fleet.member_mut("eu-1").agent.restart()?;
    fleet.instance(NAME, "eu-1", "is back", known).await?;
    Ok(())
}

/// Takes the journal away from a dead agent.
fn lose_journal(state: &Path) -> Result<()> {
    let mut lost = 0;
    for entry in fs::read_dir(state)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("journal-") {
            fs::remove_file(entry.path())?;
            lost += 1;
        }
    }
    ensure!(lost == 1, "{lost} journals instead of one");
    Ok(())
}

async fn a_disk_is_lost(fleet: &mut Fleet, cluster: &str) -> Result<()> {
    let before = incarnations(fleet, cluster).await?;
    let member = fleet.member_mut(cluster);
    member.agent.kill();
    lose_journal(&member.agent.state_folder())?;
    member.agent.restart()?;
    wait_for("the loss is told", BOUND, async || {
        let now = incarnations(fleet, cluster).await?;
        ensure!(now.len() == before.len() + 1, "incarnations {now:?} after {before:?}");
        Ok(Some(()))
    })
    .await?;
    let told = fleet.hub.events(&["--cluster", cluster, "--kind", "JournalLost"]).await?;
    let newest = incarnations(fleet, cluster).await?.pop();
    let last = told.last().context("nobody said that the journal was lost")?;
    ensure!(last["seq"] == 1 && last["incarnation"].as_u64() == newest, "{last}");
    let known = |it: &Value| it["connection"] == "Connected" && it["health"] == "Healthy";
    fleet.instance(NAME, cluster, "is known again", known).await?;
    Ok(())
}

/// The incarnations of a cluster's agent in the log, in order, each once.
async fn incarnations(fleet: &Fleet, cluster: &str) -> Result<Vec<u64>> {
    let events = fleet.hub.events(&["--cluster", cluster]).await?;
    let own = events.iter().filter(|event| event["seq"] != 0);
    let mut all: Vec<u64> = own.filter_map(|event| event["incarnation"].as_u64()).collect();
    all.dedup();
    ensure!(all.is_sorted(), "an older incarnation speaks again: {all:?}");
    Ok(all)
}
