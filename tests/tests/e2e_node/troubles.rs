//! What a kubelet says about containers that do not come up reaches a person within seconds, in the kubelet's words.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ContainerStatus;
use kube::api::ListParams;
use serde_json::Value;
use taffrail_tests::harness::wait_for;

use super::ground::{BOUND, Ground, PART, root, with_ground, workload};

/// After the kubelet's own status, this is how long it may take until `taffrail get` names it.
const NAMED_WITHIN: Duration = Duration::from_secs(10);

/// A container that does not come up.
struct Trouble {
    app: &'static str,
    /// The rest of the container.
    container: String,
    /// Whether the kubelet's status tells of it.
    told: fn(&ContainerStatus) -> bool,
    /// What the hub calls it.
    cause: &'static str,
    /// What its message holds.
    words: &'static [&'static str],
}

fn troubles() -> [Trouble; 3] {
    [
        Trouble {
            app: "missing",
            // Nobody listens there: the answer comes at once, and from no other machine.
            container: "image: '127.0.0.1:1/missing:1'".to_owned(),
            told: |status| {
                waits(status).is_some_and(|why| why == "ErrImagePull" || why == "ImagePullBackOff")
            },
            cause: "ImagePullBackOff",
            words: &["127.0.0.1:1/missing:1", "container main"],
        },
        Trouble {
            app: "crashing",
            container: format!("image: '{PART}', args: [fail, the disk is full]"),
            told: |status| waits(status) == Some("CrashLoopBackOff"),
            cause: "CrashLoopBackOff",
            // In the kubelet's words while it waits, "restarting failed container"; between an end and that it says the end.
            words: &["container main", "ended with code 3", "restart"],
        },
        Trouble {
            app: "unready",
            container: format!(
                "image: '{PART}', readinessProbe: {{tcpSocket: {{port: 9}}, periodSeconds: 1}}"
            ),
            told: |status| {
                let state = status.state.as_ref();
                state.is_some_and(|state| state.running.is_some()) && !status.ready
            },
            cause: "ContainersNotReady",
            words: &["readiness probe (TCP port 9) does not pass", "containers with unready status: [main]"],
        },
    ]
}

fn waits(status: &ContainerStatus) -> Option<&str> {
    status.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

#[tokio::test]
async fn what_the_kubelet_says_is_named_within_ten_seconds() {
    with_ground("troubles", async |ground| {
        let apps = troubles().map(|trouble| (trouble.app, trouble.app));
        let mut files = root(&ground.git.url(), &apps);
        files.extend(troubles().map(|trouble| workload(trouble.app, 1, "1", &trouble.container)));
        ground.git.commit("three that cannot start", &files)?;
        ground.follow().await?;
        ground.install(&[]).await?;
        let all = troubles();
        let found = futures::future::try_join_all(all.iter().map(|trouble| named(ground, trouble))).await?;
        for (trouble, took) in all.iter().zip(found) {
            eprintln!("{} was named {took:?} after the kubelet's status", trouble.cause);
            ensure!(took <= NAMED_WITHIN, "{} was named after {took:?}", trouble.cause);
        }
        ground.audit().await
    })
    .await;
}

/// How long after the kubelet's status a trouble was named.
async fn named(ground: &Ground, trouble: &Trouble) -> Result<Duration> {
    let pods = ground.pods(trouble.app);
    wait_for(&format!("the kubelet tells of {}", trouble.app), BOUND, async || {
        let pods = pods.list(&ListParams::default()).await?.items;
        let statuses = pods.iter().filter_map(|pod| pod.status.as_ref()?.container_statuses.as_deref());
        Ok(statuses.flatten().any(trouble.told).then_some(()))
    })
    .await?;
    let told = Instant::now();
    let is_it = |it: &&Value| it["cause"] == trouble.cause;
    let of = |instance: &Value| instance["causes"].as_array().into_iter().flatten().find(is_it).cloned();
    let instance = ground.until(trouble.app, "names its cause", |it| of(it).is_some()).await?;
    let took = told.elapsed();
    let cause = of(&instance).context("it was there a moment ago")?.to_string();
    for words in trouble.words {
        ensure!(cause.contains(words), "{words:?} is not in {cause}");
    }
    Ok(took)
}
