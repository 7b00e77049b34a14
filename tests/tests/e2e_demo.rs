//! The demo on real control planes: the same story, and nothing of it is left behind.

use std::process::Command;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use taffrail_tests::cluster::{Cluster, Options};

/// Names of everything that the demo could leave on a cluster.
async fn left(cluster: &Cluster) -> Result<Vec<String>> {
    let client = cluster.client().await?;
    let all = ListParams::default();
    let namespaces = Api::<Namespace>::all(client.clone()).list(&all).await?.items;
    let bindings = Api::<ClusterRoleBinding>::all(client).list(&all).await?.items;
    let names =
        namespaces.iter().map(ResourceExt::name_any).chain(bindings.iter().map(ResourceExt::name_any));
    Ok(names.filter(|name| name.contains("taffrail")).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn real_clusters_see_the_same_story_and_are_left_as_they_were() -> Result<()> {
    let clusters = Cluster::start_many(2, Options { name: "real".to_owned(), ..Options::default() }).await?;
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
    demo.arg("--once");
    for cluster in &clusters {
        demo.arg("--kubeconfig").arg(cluster.kubeconfig_path());
    }
    let output = tokio::task::spawn_blocking(move || demo.output()).await??;
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    ensure!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(told.contains("your clusters are as they were"), "{told}");
    for cluster in &clusters {
        let left = left(cluster).await?;
        ensure!(left.is_empty(), "{} still has {left:?}", cluster.name());
    }
    Ok(())
}
