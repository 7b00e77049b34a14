//! A cluster that is restored from a backup of its etcd.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use taffrail_tests::cluster::{Cluster, Options};
use taffrail_tests::harness::apps::{config_map, everywhere, paths};
use taffrail_tests::harness::fleet::{Fleet, Settings, tell_with};
use taffrail_tests::harness::live;
use taffrail_tests::harness::load::{Load, NAME};
use taffrail_tests::harness::observer::Observer;
use taffrail_tests::tree::Overlay;

use super::{AGENTS, HUB, LEASE};

/// The cluster that is restored, on an etcd of its own.
const CLUSTER: &str = "restored";
/// The client library's own word on each answer that is an error.
const MEANT: &[&str] = &["kube_client::client::builder"];
/// Writes of somebody else after the backup, so that the versions of before are not reached again before the agent asks: a
/// starting API server writes objects of its own.
const WRITES: usize = 500;

#[tokio::test]
async fn a_cluster_that_is_restored_from_a_backup_of_its_etcd_is_as_git_says_again() {
    let options = Options { name: CLUSTER.to_owned(), ..Options::bare() };
    let mut plane = Cluster::start(options).await.expect("a control plane");
    let settings = Settings { hub: HUB, agents: AGENTS, meant: MEANT, ..Settings::default() };
    tell_with("backups", settings, async |fleet| {
        fleet.join(CLUSTER, Overlay::Staging, &plane).await?;
        let load = Load::start(fleet, 4).await?;
        let observer = Observer::start(fleet, &load, LEASE);
        load.note(&fleet.push("one more", &everywhere(fleet, NAME, &config_map("leaves", "1"))).await?);
        load.commit(fleet, "before the backup").await?;
        load.arrived(fleet).await?;

        let backup = plane.back_up().await.context("back up")?;
        load.note(&fleet.push_without("one less", &paths(fleet, NAME, "configmap-leaves")).await?);
        load.note(&fleet.push("another one", &everywhere(fleet, NAME, &config_map("comes", "1"))).await?);
        somebody_writes(fleet).await?;
        load.commit(fleet, "after the backup").await?;
        load.arrived(fleet).await?;
        is_as_git_says(fleet).await?;

        plane.restore(&backup).await.context("restore")?;
        fleet.event(&["--kind", "ClusterWentBack", "--cluster", CLUSTER], |_| true).await?;
        is_as_git_says(fleet).await.context("after a restore under a running agent")?;
        load.arrived(fleet).await?;

        fleet.member_mut(CLUSTER).agent.kill();
        plane.restore(&backup).await.context("restore once more")?;
        fleet.member_mut(CLUSTER).agent.restart()?;
        is_as_git_says(fleet).await.context("after a restore while the agent was away")?;
        load.arrived(fleet).await?;

        load.commit(fleet, "and on").await?;
        load.arrived(fleet).await?;
        let back = fleet.hub.events(&["--kind", "ClusterWentBack"]).await?;
        ensure!(back.iter().all(|event| event["cluster"] == CLUSTER), "others went back: {back:?}");
        ensure!(back.len() == 2, "it went back twice, and that was told: {back:?}");
        observer.judge().await
    })
    .await;
}

async fn somebody_writes(fleet: &Fleet) -> Result<()> {
    let member = fleet.member(CLUSTER);
    let list = format!("/api/v1/namespaces/{}/configmaps", member.namespace);
    for number in 0..WRITES {
        let note = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("note-{number}")},
        });
        member.live.create(&list, &note).await?;
    }
    Ok(())
}

/// What left Git is gone and what came is there; the rest is compared by the load.
async fn is_as_git_says(fleet: &Fleet) -> Result<()> {
    let member = fleet.member(CLUSTER);
    member.live.until_gone(&live::config_map(&member.namespace, "leaves")).await?;
    let comes = live::config_map(&member.namespace, "comes");
    member.live.until_there(&comes).await?;
    Ok(())
}
