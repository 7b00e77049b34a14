//! The test clusters themselves: real controllers, pods that fail as real ones do, and nothing left behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use taffrail_tests::cluster::{Cluster, Options};
use tokio::time::sleep;

const LIMIT: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(20);

fn deployment(name: &str, image: &str, replicas: i32) -> Deployment {
    let labels = json!({ "app": name });
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "main", "image": image }] },
            },
        },
    }))
    .expect("a Deployment")
}

async fn create(client: &Client, name: &str, image: &str, replicas: i32) -> Result<()> {
    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    deployments.create(&PostParams::default(), &deployment(name, image, replicas)).await?;
    Ok(())
}

/// Waits until `fact` holds for the pods of an app, and gives them; fails with their status.
async fn wait_for_pods(client: &Client, app: &str, fact: impl Fn(&[Pod]) -> bool) -> Result<Vec<Pod>> {
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = pods.list(&ListParams::default().labels(&format!("app={app}"))).await?.items;
        if fact(&found) {
            return Ok(found);
        }
        if Instant::now() > deadline {
            let states: Vec<_> = found.iter().map(|pod| &pod.status).collect();
            bail!("{app} after {LIMIT:?}: {}", serde_json::to_string_pretty(&states)?);
        }
        sleep(PAUSE).await;
    }
}

fn waiting_reason(pod: &Pod) -> Option<&str> {
    let state = pod.status.as_ref()?.container_statuses.as_ref()?.first()?.state.as_ref()?;
    state.waiting.as_ref()?.reason.as_deref()
}

fn ready_condition(pod: &Pod) -> Option<&str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Ready").map(|condition| condition.status.as_str())
}

#[tokio::test]
async fn a_deployment_with_five_replicas_becomes_ready() -> Result<()> {
    let begin = Instant::now();
    let client = Cluster::shared().await?.client().await?;
    println!("cluster usable after {:?}", begin.elapsed());
    let begin = Instant::now();
    create(&client, "web", "registry.example/web:1", 5).await?;
    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    loop {
        let status = deployments.get("web").await?.status.unwrap_or_default();
        if status.ready_replicas == Some(5) && status.available_replicas == Some(5) {
            break;
        }
        assert!(begin.elapsed() < LIMIT, "not ready: {status:?}");
        sleep(PAUSE).await;
    }
    println!("five pods ready after {:?}", begin.elapsed());
    deployments.delete("web", &DeleteParams::background()).await?;
    wait_for_pods(&client, "web", <[Pod]>::is_empty).await?;
    Ok(())
}

#[tokio::test]
async fn an_image_that_does_not_exist_waits_in_image_pull_back_off() -> Result<()> {
    let client = Cluster::shared().await?.client().await?;
    create(&client, "lost", "registry.example/does-not-exist:1", 1).await?;
    let waits = |pods: &[Pod]| pods.iter().any(|pod| waiting_reason(pod) == Some("ImagePullBackOff"));
    let pods = wait_for_pods(&client, "lost", waits).await?;
    let status = pods[0].status.as_ref().context("a status")?;
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let text = serde_json::to_string(status)?;
    assert!(text.contains("registry.example/does-not-exist:1: not found"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_container_that_crashes_counts_its_restarts() -> Result<()> {
    let client = Cluster::shared().await?.client().await?;
    create(&client, "broken", "registry.example/crash:1", 1).await?;
    let restarted = |pods: &[Pod]| {
        let statuses =
            pods.iter().filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref()?.first());
        statuses.into_iter().any(|container| container.restart_count >= 2)
    };
    let pods = wait_for_pods(&client, "broken", restarted).await?;
    assert_eq!(waiting_reason(&pods[0]), Some("CrashLoopBackOff"));
    Ok(())
}

#[tokio::test]
async fn a_container_that_is_never_ready_runs() -> Result<()> {
    let client = Cluster::shared().await?.client().await?;
    create(&client, "slow", "registry.example/never-ready:1", 1).await?;
    let runs = |pods: &[Pod]| {
        pods.iter()
            .any(|pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running")))
    };
    let pods = wait_for_pods(&client, "slow", runs).await?;
    assert_eq!(ready_condition(&pods[0]), Some("False"));
    Ok(())
}

#[tokio::test]
async fn clusters_that_share_etcd_do_not_share_objects_and_survive_a_killed_api_server() -> Result<()> {
    let begin = Instant::now();
    let mut clusters = Cluster::start_many(2, Options::bare()).await?;
    println!("two bare clusters usable after {:?}", begin.elapsed());
    let object: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "mine" } }))?;
    let first = Api::<ConfigMap>::default_namespaced(clusters[0].client().await?);
    let second = Api::<ConfigMap>::default_namespaced(clusters[1].client().await?);
    first.create(&PostParams::default(), &object).await?;
    assert!(second.get_opt("mine").await?.is_none());

    clusters[0].kill_api_server();
    assert!(first.get_opt("mine").await.is_err());
    assert!(second.get_opt("mine").await?.is_none());
    clusters[0].start_api_server().await?;
    assert_eq!(first.get("mine").await?.name_any(), "mine");
    Ok(())
}

/// The living processes of some process groups; a zombie that nobody collects is dead.
fn living(groups: &[u32]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        let mut fields = after_name.split(' ');
        let (state, _parent, group) = (fields.next(), fields.next(), fields.next());
        if state != Some("Z")
            && group.and_then(|group| group.parse().ok()).is_some_and(|id| groups.contains(&id))
        {
            found.push(stat);
        }
    }
    found
}

#[tokio::test]
async fn a_cluster_that_is_dropped_leaves_no_process_and_no_file() -> Result<()> {
    let cluster = Cluster::start(Options { nodes: 2, ..Options::default() }).await?;
    let nodes = Api::<Node>::all(cluster.client().await?).list(&ListParams::default()).await?;
    assert_eq!(nodes.items.len(), 2);
    let groups = cluster.process_groups();
    let file = cluster.kubeconfig_path();
    assert!(living(&groups).len() > groups.len(), "five groups, and kwok under its guard");
    cluster.stop();
    assert_eq!(living(&groups), Vec::<String>::new());
    assert!(!file.exists());
    Ok(())
}

#[tokio::test]
#[ignore = "the part of the next test that is killed"]
async fn hold_a_cluster_until_killed() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    println!("\ngroups {}", serde_json::to_string(&cluster.process_groups())?);
    sleep(LIMIT * 2).await;
    Ok(())
}

#[test]
fn a_killed_test_takes_its_cluster_with_it() -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", "hold_a_cluster_until_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(child.stdout.take().context("its output")?).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("groups "));
    let groups: Vec<u32> =
        serde_json::from_str(line.as_deref().unwrap_or("groups []").trim_start_matches("groups "))?;
    assert!(!living(&groups).is_empty(), "the cluster of the child never ran");
    child.kill()?;
    child.wait()?;
    let deadline = Instant::now() + LIMIT;
    while !living(&groups).is_empty() {
        assert!(Instant::now() < deadline, "still there: {:?}", living(&groups));
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
