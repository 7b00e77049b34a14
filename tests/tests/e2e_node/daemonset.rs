//! The other form: a pod a node, and a Lease that picks the one that acts.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams};
use taffrail_tests::harness::wait_for;

use super::ground::{BOUND, Ground, HOME, PART, name, root, with_ground, workload};

#[tokio::test]
async fn a_daemon_set_leads_by_lease_and_hands_it_on() {
    with_ground("daemonset", async |ground| {
        ground.git.commit("first", &files(ground, "1"))?;
        ground.follow().await?;
        ground.install(&["--daemonset"]).await?;
        let agent = ground.agent("").await?;
        let sets: Api<DaemonSet> = Api::namespaced(ground.client.clone(), HOME);
        sets.get("taffrail-agent").await.context("the form is a DaemonSet")?;
        ensure!(holder(ground).await? == name(&agent), "the pod holds the lease");
        ground.healthy("web", &ground.git.head()?).await?;

        ground.pods(HOME).delete(name(&agent), &DeleteParams::default()).await?;
        let second = ground.push("second", &files(ground, "2")).await?;
        let next = ground.agent(name(&agent)).await?;
        ground.healthy("web", &second).await?;
        wait_for("the next pod holds the lease", BOUND, async || {
            Ok((holder(ground).await? == name(&next)).then_some(()))
        })
        .await?;
        ground.audit().await
    })
    .await;
}

fn files(ground: &Ground, version: &str) -> Vec<(String, String)> {
    let mut files = root(&ground.git.url(), &[("web", "web")]);
    files.push(workload("web", 1, version, &format!("image: '{PART}'")));
    files
}

async fn holder(ground: &Ground) -> Result<String> {
    let leases: Api<Lease> = Api::namespaced(ground.client.clone(), HOME);
    let lease = leases.get("taffrail-agent").await.context("read the lease")?;
    Ok(lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default())
}
