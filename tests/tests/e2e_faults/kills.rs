//! `kill -9` of every part, at any moment, alone and together.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use taffrail_tests::harness::fleet::{BOUND, Fleet, Settings, tell_with};
use taffrail_tests::harness::load::Load;
use taffrail_tests::harness::observer::Observer;
use taffrail_tests::harness::{Random, wait_for};
use tokio::time::sleep;

use super::{AGENTS, HUB, LEASE, times};

/// Longest time between a part's start and its death: a commit takes less from push to last cluster.
const LIVES_MS: u64 = 1_500;

#[tokio::test]
async fn whoever_is_killed_at_any_moment_nothing_is_lost_or_doubled() {
    let seed = Random::seed("kills");
    let settings = Settings { hub: HUB, agents: AGENTS, ..Settings::default() };
    tell_with("kills", settings, async |fleet| {
        let mut random = Random::new(seed);
        let mut load = Load::start(fleet, 20).await?;
        let observer = Observer::start(fleet, &load, LEASE);
        load.run(fleet, seed);
        for round in 0..times(6, 100) {
            lives(&mut random).await;
            fleet.hub.kill();
            fleet.hub.restart().await.with_context(|| format!("the hub, round {round}"))?;
        }
        for round in 0..times(3, 30) {
            lives(&mut random).await;
            let count = fleet.members.len() as u64;
            let victim = usize::try_from(random.below(count)).unwrap_or_default();
            fleet.members[victim].agent.restart().with_context(|| format!("an agent, round {round}"))?;
        }
        for round in 0..times(1, 10) {
            lives(&mut random).await;
            nats_dies(fleet).await.with_context(|| format!("nats-server, round {round}"))?;
        }
        for round in 0..times(1, 10) {
            lives(&mut random).await;
            all_die(fleet).await.with_context(|| format!("all, round {round}"))?;
        }
        load.end(fleet).await?;
        observer.judge().await
    })
    .await;
}

async fn lives(random: &mut Random) {
    sleep(Duration::from_millis(random.below(LIVES_MS))).await;
}

async fn nats_dies(fleet: &Fleet) -> Result<()> {
    let old = fleet.hub.nats_pid()?;
    fleet.hub.kill_nats()?;
    wait_for("nats-server was started again", BOUND, async || {
        ensure!(fleet.hub.nats_pid()? != old, "it has the old process id");
        let (status, text) = fleet.hub.get("/readyz?verbose").await?;
        ensure!(status == 200, "{text}");
        Ok(Some(()))
    })
    .await
}

async fn all_die(fleet: &mut Fleet) -> Result<()> {
    fleet.hub.kill();
    for member in &mut fleet.members {
        member.agent.kill();
    }
    fleet.hub.kill_nats()?;
    for member in &mut fleet.members {
        member.agent.restart()?;
    }
    fleet.hub.restart().await
}
