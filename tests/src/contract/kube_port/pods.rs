//! Pods that tell early why a workload does not become ready.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use taffrail_agent::kube::Objects;
use taffrail_core::health::{Cause, cause_of_pods, judge};
use taffrail_core::time::At;

use super::bench::{Bench, eventually};

fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "it"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "it"}},
            "template": {
                "metadata": {"labels": {"app": "it"}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
        },
    })
}

/// The cause is named while the deadline is far away, and the pods of an older revision name nothing.
pub async fn what_cannot_start_names_its_cause(bench: &Bench) -> Result<()> {
    let key = bench.apply(deployment("registry.example/does-not-exist:1")).await?.key;
    let (cause, message) = eventually("the cause is named", async || {
        let pods = bench.port.pods_of(&key).await?;
        Ok(cause_of_pods(&pods, At(0)))
    })
    .await?;
    ensure!(cause == Cause::ImagePull, "{cause:?}: {message}");
    ensure!(message.contains("registry.example/does-not-exist:1"), "{message}");

    bench.apply(deployment("registry.example/web:1")).await?;
    eventually("the new revision is healthy", async || {
        let pods = bench.port.pods_of(&key).await?;
        ensure!(cause_of_pods(&pods, At(0)).is_none(), "an old pod names a cause: {pods:?}");
        let live = bench.port.get(&key).await?;
        let health = live.map(|live| judge(&live, At(0)).health.as_str());
        Ok((health == Some("Healthy")).then_some(()))
    })
    .await?;
    ensure!(bench.port.pods_of(&key).await?.is_empty());
    Ok(())
}
