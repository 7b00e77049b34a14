//! The in-memory API server keeps the contract; and what only it has: faults, a record of requests, pods that fail on order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Client;
use kube::api::{Api, ListParams, PostParams, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use taffrail_testkit::apiserver::{ApiServer, Fault, Options};
use taffrail_tests::contract::kube::Target;

/// A server of the case's own; it lives as long as the target does.
async fn memory(case: &str) -> Result<Target> {
    let server = Arc::new(ApiServer::start(Options::default()).await?);
    let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig()).context("read the kubeconfig")?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let compact = move || {
        server.compact();
        futures::future::ready(Ok(())).boxed()
    };
    Target::prepare(client, case, Arc::new(compact)).await
}

taffrail_tests::kube_contract!(memory);

/// A server and its client, for what only the in-memory server has.
async fn bare() -> Result<(ApiServer, Client)> {
    let server = ApiServer::start(Options::default()).await?;
    let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok((server, Client::try_from(config)?))
}

fn config_map(name: &str) -> Result<ConfigMap> {
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "b"}}))?)
}

fn code<T: std::fmt::Debug>(answer: kube::Result<T>) -> u16 {
    match answer {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn faults_strike_the_named_requests_as_often_as_ordered() -> Result<()> {
    let (server, client) = bare().await?;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    server.faults().next(2, "get", "configmaps", Fault::Internal);
    server.faults().next(1, "*", "*", Fault::Forbidden { message: "no".to_owned() });
    ensure!(code(maps.get("a").await) == 500);
    ensure!(code(maps.list(&ListParams::default()).await) == 403, "the other fault is for everything");
    ensure!(code(maps.get("a").await) == 500);
    ensure!(code(maps.get("a").await) == 404, "no fault is left");
    ensure!(server.faults().count("get", "configmaps") == 3 && server.faults().count("*", "*") == 4);
    Ok(())
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_deed_and_a_hanging_one_waits() -> Result<()> {
    let (server, client) = bare().await?;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    server.faults().next(1, "create", "configmaps", Fault::LoseAnswer);
    ensure!(maps.create(&PostParams::default(), &config_map("a")?).await.is_err());
    ensure!(maps.get_opt("a").await?.is_some(), "the object was made");
    server.faults().next(1, "get", "configmaps", Fault::Hang);
    let waiting = tokio::time::timeout(Duration::from_millis(200), maps.get("a")).await;
    ensure!(waiting.is_err(), "it answered");
    ensure!(maps.get_opt("a").await?.is_some(), "others are not held up");
    Ok(())
}

#[tokio::test]
async fn who_asks_is_recorded_and_a_stranger_is_refused() -> Result<()> {
    let (server, _) = bare().await?;
    let yaml = server.kubeconfig();
    let mut as_other = Kubeconfig::from_yaml(&yaml)?;
    for user in &mut as_other.auth_infos {
        if let Some(info) = &mut user.auth_info {
            info.impersonate = Some("system:serviceaccount:a:b".to_owned());
        }
    }
    let config = kube::Config::from_custom_kubeconfig(as_other, &KubeConfigOptions::default()).await?;
    let maps = Api::<ConfigMap>::default_namespaced(Client::try_from(config)?);
    maps.create(&PostParams::default(), &config_map("a")?).await?;
    let last = server.faults().seen().pop().context("a request was seen")?;
    ensure!(
        last.verb == "create" && last.impersonated.as_deref() == Some("system:serviceaccount:a:b"),
        "{last:?}"
    );
    let stranger = Kubeconfig::from_yaml(&yaml.replace("taffrail-testkit", "wrong"))?;
    let config = kube::Config::from_custom_kubeconfig(stranger, &KubeConfigOptions::default()).await?;
    let maps = Api::<ConfigMap>::default_namespaced(Client::try_from(config)?);
    ensure!(code(maps.get("a").await) == 401);
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() -> Result<()> {
    let (_server, client) = bare().await?;
    let mut large = config_map("large")?;
    large.data = Some([("a".to_owned(), "x".repeat(4 * 1024 * 1024))].into());
    let maps = Api::<ConfigMap>::default_namespaced(client);
    ensure!(code(maps.create(&PostParams::default(), &large).await) == 413);
    Ok(())
}

#[tokio::test]
async fn a_stopped_server_ends_its_watches_and_answers_no_more() -> Result<()> {
    let (server, client) = bare().await?;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    let mut events = Box::pin(maps.watch(&WatchParams::default(), "0").await?);
    drop(server);
    let rest =
        tokio::time::timeout(Duration::from_secs(10), async { while events.next().await.is_some() {} }).await;
    ensure!(rest.is_ok(), "the watch goes on");
    ensure!(maps.get("a").await.is_err());
    Ok(())
}

#[tokio::test]
async fn pods_fail_as_their_image_or_selector_says() -> Result<()> {
    let (_server, client) = bare().await?;
    let pods = Api::<Pod>::default_namespaced(client);
    for (name, image, selector, expected) in [
        ("crashes", "crash:1", json!({}), "CrashLoopBackOff"),
        ("broken", "app:broken", json!({}), "ImagePullBackOff"),
        ("unready", "never-ready", json!({}), "ContainersNotReady"),
        ("nowhere", "app:1", json!({"disk": "fast"}), "Unschedulable"),
    ] {
        let pod = json!({
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": image}], "nodeSelector": selector},
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        let says = async {
            loop {
                let live = serde_json::to_string(&pods.get(name).await?.status)?;
                if live.contains(expected) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), says).await.context(expected)??;
    }
    Ok(())
}
