//! The form that is installed by default: one pod, which may die in the middle of its work.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use serde_json::Value;
use taffrail_tests::harness::{in_order, wait_for};

use super::ground::{
    BOUND, CLUSTER, Ground, HOME, PART, is_ready, metric, name, root, with_ground, workload,
};
use super::rights;

/// Where the app is delivered to.
const NAMESPACE: &str = "web";
/// Objects of the app beside its Deployment: enough that a delivery has a middle.
const MAPS: usize = 30;

#[tokio::test]
async fn an_agent_installed_by_its_yaml_delivers_and_survives_its_pod() {
    with_ground("deployment", async |ground| {
        ground.git.commit("first", &files(ground, "1"))?;
        ground.follow().await?;
        ground.install(&["--label", "region=lab"]).await?;
        let agent = ground.agent("").await?;
        rights::of_the_agent(ground).await?;
        rights::of_an_applier_that_is_cluster_admin(ground).await?;
        let first = ground.git.head()?;
        ground.healthy("web", &first).await?;
        the_pods_really_run(ground).await?;
        the_pod_may_be_deleted_in_the_middle(ground, &agent).await?;
        ground.audit().await
    })
    .await;
}

fn files(ground: &Ground, version: &str) -> Vec<(String, String)> {
    let mut files = root(&ground.git.url(), &[("web", NAMESPACE)]);
    files.push(workload("web", 2, version, &format!("image: '{PART}'")));
    for number in 0..MAPS {
        let map = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: map-{number:02}}}\ndata: {{version: '{version}'}}\n"
        );
        files.push((format!("apps/web/map-{number:02}.yaml"), map));
    }
    files
}

/// A container runtime ran them, from the image that was asked for.
async fn the_pods_really_run(ground: &Ground) -> Result<()> {
    let pods = ground.pods(NAMESPACE).list(&ListParams::default().labels("app=web")).await?.items;
    ensure!(pods.iter().filter(|pod| is_ready(pod)).count() == 2, "{pods:?}");
    for pod in &pods {
        let status = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
        let container = status.and_then(<[_]>::first).context("the pod has a container")?;
        let id = container.container_id.as_deref().unwrap_or_default();
        ensure!(id.starts_with("containerd://") && container.image == PART, "{container:?}");
    }
    Ok(())
}

/// The pod is deleted while a commit is under way: the next one finishes it, and no event is missing.
async fn the_pod_may_be_deleted_in_the_middle(ground: &Ground, agent: &Pod) -> Result<()> {
    let before = incarnation(ground).await?;
    let second = ground.push("second", &files(ground, "2")).await?;
    wait_for("the delivery has begun", BOUND, async || {
        let map = ground.kubectl(&["get", "configmap", "map-00", "-n", NAMESPACE, "-o", "json"], "").await?;
        let map: Value = serde_json::from_str(&map)?;
        Ok((map["data"]["version"] == "2").then_some(()))
    })
    .await?;
    let mut stated = metric(agent, "events").await?;
    ground.pods(HOME).delete(name(agent), &DeleteParams::default()).await.context("delete the pod")?;
    let instance = ground.instance("web").await?;
    let over = instance["runningCommit"] == *second && instance["health"] == "Healthy";
    ensure!(!over, "the delivery was over already: {instance}");
    // The last word of the dying pod on how many events there are, if it has one; its end is an error of the question.
    while let Ok(events) = metric(agent, "events").await {
        stated = events;
    }
    ground.healthy("web", &second).await?;
    let next = ground.agent(name(agent)).await?;
    ensure!(next.metadata.uid != agent.metadata.uid, "it is the same pod");
    for number in 0..MAPS {
        let map = format!("map-{number:02}");
        let path = ["get", "configmap", &map, "-n", NAMESPACE, "-o", "jsonpath={.data.version}"];
        let found = ground.kubectl(&path, "").await?;
        ensure!(found == "2", "{map} is of version {found}");
    }
    ensure!(incarnation(ground).await? == before + 1, "a new pod has a new journal");
    let chains = in_order(&ground.hub.events(&[]).await?)?;
    let logged = chains.get(&(CLUSTER.to_owned(), before)).copied().unwrap_or(0);
    ensure!(0 < stated && stated <= logged, "the pod counted {stated} events, the log has {logged}");
    Ok(())
}

/// The agent's newest journal in the log.
async fn incarnation(ground: &Ground) -> Result<u64> {
    let chains = in_order(&ground.hub.events(&[]).await?)?;
    let newest = chains.keys().next_back().context("the agent has events in the log")?;
    Ok(newest.1)
}
