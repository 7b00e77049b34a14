//! Fake nodes, and the wait until pods can run on them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, Node, ServiceAccount};
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// Between two questions; short beside the seconds that a start takes.
const PAUSE: Duration = Duration::from_millis(20);

/// Makes `count` nodes with room for 1,000 pods each.
pub(super) async fn create(client: &Client, count: u32) -> Result<()> {
    let nodes = Api::<Node>::all(client.clone());
    for index in 0..count {
        let name = format!("node-{index}");
        let room = json!({ "cpu": "64", "memory": "256Gi", "pods": "1000" });
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" } },
            "status": { "allocatable": room, "capacity": room },
        }))?;
        nodes.create(&PostParams::default(), &node).await.with_context(|| format!("create {name}"))?;
    }
    Ok(())
}

/// Waits until all `count` nodes take pods and the default namespace has its service account.
pub(super) async fn wait_until_usable(client: &Client, count: u32, limit: Duration) -> Result<()> {
    let nodes = Api::<Node>::all(client.clone());
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
    let deadline = Instant::now() + limit;
    loop {
        let ready = nodes
            .list(&ListParams::default())
            .await
            .context("list nodes")?
            .iter()
            .filter(|n| usable(n))
            .count();
        let account = accounts.get_opt("default").await.context("get the default service account")?;
        if ready >= usize::try_from(count)? && account.is_some() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "{ready} of {count} nodes usable, service account made: {}, after {limit:?}",
                account.is_some()
            );
        }
        sleep(PAUSE).await;
    }
}

/// Waits until the API server has made the default namespace, which it does after it calls itself ready.
pub(super) async fn wait_for_default_namespace(client: &Client, limit: Duration) -> Result<()> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let deadline = Instant::now() + limit;
    while namespaces.get_opt("default").await.context("get the default namespace")?.is_none() {
        if Instant::now() > deadline {
            bail!("no default namespace after {limit:?}");
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

fn usable(node: &Node) -> bool {
    let conditions = node.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    let ready =
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let free = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).is_none_or(Vec::is_empty);
    ready && free
}
