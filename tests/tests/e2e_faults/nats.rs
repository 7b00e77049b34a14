//! NATS loses, refuses or hangs.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use rustix::process::{Pid, Signal, kill_process};
use taffrail_core::time::At;
use taffrail_hub::nats::keys::Keys;
use taffrail_runtime::nats::{First, Options, Tls, connect};
use taffrail_tests::harness::apps::{App, config_map, everywhere, roots};
use taffrail_tests::harness::fleet::{BOUND, Fleet, Settings, tell_with};
use taffrail_tests::harness::live;
use taffrail_tests::harness::load::{Load, NAME};
use taffrail_tests::harness::observer::Observer;
use taffrail_tests::harness::{Random, wait_for};
use tokio::time::sleep;

use super::{AGENTS, HUB, LEASE, times};

/// How long commits and edits go on after a loss.
const LASTS: Duration = Duration::from_secs(5);
/// How long NATS hangs, and how long once in the long form.
const HANGS: Duration = Duration::from_secs(8);
const HANGS_ONCE: Duration = Duration::from_secs(times(8, 600));

#[tokio::test]
async fn nats_may_lose_everything_and_hang_and_costs_nothing_but_time() {
    let seed = Random::seed("nats");
    let settings = Settings { hub: HUB, agents: AGENTS, ..Settings::default() };
    tell_with("nats", settings, async |fleet| {
        let mut load = Load::start(fleet, 8).await?;
        let mut observer = Observer::start(fleet, &load, LEASE);
        a_stream_is_full(fleet, &load).await.context("a full stream")?;
        for round in 0..times(1, 5) {
            load.run(fleet, seed ^ round);
            streams_are_deleted(fleet).await.context("streams deleted")?;
            load.end(fleet).await.context("after the streams were deleted")?;
            load.run(fleet, seed ^ round ^ 1);
            the_data_is_deleted(fleet).context("data deleted")?;
            // The server goes on with the files that it holds open; with its end they are gone.
            sleep(LASTS).await;
            fleet.hub.kill_nats()?;
            load.end(fleet).await.context("after the data were deleted")?;
            load.run(fleet, seed ^ round ^ 2);
            let hangs = if round == 0 { HANGS_ONCE } else { HANGS };
            it_hangs(fleet, &mut observer, hangs).await.context("hanging")?;
            load.end(fleet).await.context("after it hung")?;
        }
        observer.judge().await
    })
    .await;
}

/// A client with the rights of the hub's account, beside the hub.
async fn administer(fleet: &Fleet) -> Result<jetstream::Context> {
    let keys = Keys::open(&fleet.hub.data_folder().join("nats-keys")).context("open the hub's keys")?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let login = keys.hub_login(At(u64::try_from(now)?))?;
    let address = fleet.hub.nats_address()?;
    let options = Options {
        urls: vec![format!("tls://localhost:{}", address.port())],
        login,
        ca_pem: Some(fleet.members[0].token.ca_pem.clone()),
        name: "a hand in the broker".to_owned(),
        inbox_prefix: None,
        tls: Tls::Required,
        first: First::MustSucceed,
    };
    Ok(jetstream::new(connect(options).await?.client))
}

async fn streams_are_deleted(fleet: &Fleet) -> Result<()> {
    let broker = administer(fleet).await?;
    for stream in ["DESIRED", "BUNDLES"] {
        broker.delete_stream(stream).await.with_context(|| format!("delete {stream}"))?;
    }
    wait_for("the streams are there again", BOUND, async || {
        for stream in ["DESIRED", "BUNDLES"] {
            broker.get_stream(stream).await?;
        }
        Ok(Some(()))
    })
    .await
}

/// Nothing new can be stored: the hub keeps what it owes, and nobody is told that it has arrived.
async fn a_stream_is_full(fleet: &Fleet, load: &Load) -> Result<()> {
    let broker = administer(fleet).await?;
    let mut stream = broker.get_stream("BUNDLES").await?;
    let info = stream.info().await?.clone();
    let stored = i64::try_from(info.state.messages)?;
    let full = Config { max_messages: stored, discard: DiscardPolicy::New, ..info.config.clone() };
    broker.update_stream(full).await.context("limit the stream")?;
    let commit = load.commit(fleet, "too much").await?;
    wait_for("the hub cannot publish", BOUND, async || {
        let log = fs::read_to_string(fleet.hub.log_file())?;
        Ok(log.contains("maximum messages exceeded").then_some(()))
    })
    .await?;
    for instance in fleet.instances(NAME).await? {
        ensure!(instance["runningCommit"] != commit.id.as_str(), "it cannot have arrived: {instance}");
    }
    broker.update_stream(info.config).await.context("take the limit away")?;
    load.arrived(fleet).await
}

#[tokio::test]
async fn a_bundle_larger_than_any_message_arrives() {
    let settings = Settings { hub: HUB, agents: AGENTS, ..Settings::default() };
    tell_with("heavy", settings, async |fleet| {
        let mut random = Random::new(7);
        let mut files = roots(fleet, &[App::automated("heavy")]);
        let mut texts = Vec::new();
        for number in 0..times(4, 42) {
            // Random, so that nothing makes it smaller on the way.
            let mut text = String::with_capacity(HEAVY);
            while text.len() + 16 <= HEAVY {
                write!(text, "{:016x}", random.number())?;
            }
            files.extend(everywhere(fleet, "heavy", &config_map(&format!("part-{number}"), &text)));
            texts.push(text);
        }
        let commit = fleet.git.commit("a heavy app", &files)?;
        fleet.hub.done(&["source", "add", &fleet.git.url()]).await?;
        fleet.healthy("heavy", &commit).await?;
        for member in &fleet.members {
            for (number, text) in texts.iter().enumerate() {
                let path = live::config_map(&member.namespace, &format!("part-{number}"));
                ensure!(member.live.get(&path).await?["data"]["value"] == text.as_str(), "{path} differs");
            }
        }
        Ok(())
    })
    .await;
}

/// Bytes of one object: below what a `ConfigMap` may hold.
const HEAVY: usize = 700_000;

fn the_data_is_deleted(fleet: &Fleet) -> Result<()> {
    let streams = fleet.hub.data_folder().join("nats/jetstream");
    fs::remove_dir_all(&streams).with_context(|| format!("delete {}", streams.display()))
}

/// The server neither answers nor ends, as on a machine that swaps or whose disk is stuck.
async fn it_hangs(fleet: &Fleet, observer: &mut Observer, hangs: Duration) -> Result<()> {
    let pid = i32::try_from(fleet.hub.nats_pid()?).ok().and_then(Pid::from_raw).context("a process id")?;
    kill_process(pid, Signal::STOP)?;
    for member in &fleet.members {
        observer.silent(member.name);
    }
    sleep(hangs).await;
    for member in &fleet.members {
        observer.back(member.name);
    }
    // It may have been killed by now: then there is nothing to wake.
    let _ = kill_process(pid, Signal::CONT);
    ensure!(fleet.hub.pid().is_some(), "the hub does not run");
    Ok(())
}
