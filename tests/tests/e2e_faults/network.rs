//! The network between an agent and the hub: cut, half open, slow, lossy.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use taffrail_tests::harness::fleet::{Fleet, Settings, tell_with};
use taffrail_tests::harness::load::{Load, NAME};
use taffrail_tests::harness::observer::Observer;
use taffrail_tests::harness::{Network, Random};
use tokio::time::sleep;

use super::{AGENTS, HUB, LEASE, times};

/// The client library's own word on a server that closes a connection before it says anything.
const MEANT: &[&str] = &["async_nats::connector"];
/// How long a bad network lasts once it has had its effect.
const LASTS: Duration = Duration::from_secs(times(3, 30));

#[tokio::test]
async fn a_bad_network_loses_nothing_and_nobody_is_called_well_because_of_it() {
    let seed = Random::seed("network");
    let settings =
        Settings { hub: HUB, agents: AGENTS, routed: Some(seed), meant: MEANT, ..Settings::default() };
    tell_with("network", settings, async |fleet| {
        let mut load = Load::start(fleet, 8).await?;
        let mut observer = Observer::start(fleet, &load, LEASE);
        load.run(fleet, seed);
        for round in 0..times(1, 5) {
            let away = [("lab", Network::Cut), ("eu-1", Network::HalfOpen)];
            for (cluster, network) in away {
                a_cluster_is_away(fleet, &mut observer, cluster, network)
                    .await
                    .with_context(|| format!("round {round}: {cluster}, {network:?}"))?;
            }
            let bad = [
                ("us-1", Network::Slow(Duration::from_secs(5))),
                ("lab", Network::Lossy { percent: 30 }),
                ("eu-1", Network::Slow(Duration::from_secs(1))),
            ];
            for (cluster, network) in bad {
                fleet.member(cluster).routes()?.set(network);
            }
            sleep(LASTS).await;
            for (cluster, _) in bad {
                fleet.member(cluster).routes()?.set(Network::Fair);
            }
        }
        load.end(fleet).await?;
        observer.judge().await
    })
    .await;
}

/// Nothing passes until the hub says so, and for a while after that; the others are not concerned.
async fn a_cluster_is_away(
    fleet: &Fleet,
    observer: &mut Observer,
    cluster: &str,
    network: Network,
) -> Result<()> {
    let routes = fleet.member(cluster).routes()?;
    routes.set(network);
    observer.silent(cluster);
    let unknown = |it: &Value| it["connection"] == "Silent" && it["health"] == "Unknown";
    fleet.instance(NAME, cluster, "is unknown", unknown).await?;
    let commit = fleet.git.head()?;
    for other in fleet.members.iter().filter(|member| member.name != cluster) {
        let follows = |it: &Value| it["connection"] == "Connected";
        fleet.instance(NAME, other.name, "is not concerned", follows).await?;
    }
    sleep(LASTS).await;
    observer.back(cluster);
    routes.set(Network::Fair);
    let back = |it: &Value| it["connection"] == "Connected" && it["runningCommit"] != commit.as_str();
    fleet.instance(NAME, cluster, "is back", back).await?;
    Ok(())
}
