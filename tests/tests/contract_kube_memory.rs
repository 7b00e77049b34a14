//! The in-memory API server keeps the contract.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures::FutureExt as _;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use taffrail_testkit::apiserver::{ApiServer, Options};
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
