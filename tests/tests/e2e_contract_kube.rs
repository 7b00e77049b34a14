//! A real control plane keeps the same contract.

use std::sync::Arc;

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use taffrail_testkit::apiserver::{ApiServer, Options as ServerOptions};
use taffrail_tests::cluster::{Cluster, Options};
use taffrail_tests::contract::kube::{Target, alike};
use tokio::sync::OnceCell;

/// The cluster of all cases. It forgets its history every second, so that old pages expire within a test's time.
async fn cluster() -> Result<&'static Cluster> {
    static SHARED: OnceCell<Cluster> = OnceCell::const_new();
    SHARED
        .get_or_try_init(|| {
            let api_server_flags = vec!["--etcd-compaction-interval=1s".to_owned()];
            Cluster::start(Options { name: "contract".to_owned(), api_server_flags, ..Options::default() })
        })
        .await
}

async fn real(case: &str) -> Result<Target> {
    let client = cluster().await?.client().await?;
    let compact = || futures::future::ready(Ok(())).boxed();
    Target::prepare(client, case, Arc::new(compact)).await
}

taffrail_tests::kube_contract!(real);

/// Every request of the table gets the same answer from memory and from the real server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_the_real_server_answer_alike() -> Result<()> {
    let server = ApiServer::start(ServerOptions { controllers: false, ..ServerOptions::default() }).await?;
    let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let memory = Client::try_from(config)?;
    let cluster = Cluster::start(Options { name: "registry".to_owned(), ..Options::bare() }).await?;
    let real = cluster.client().await?;
    let mut unlike = Vec::new();
    for request in alike::requests()? {
        let (ours, theirs) = (alike::answer(&memory, &request).await?, alike::answer(&real, &request).await?);
        for (at, ours, theirs) in alike::differences(&ours, &theirs) {
            if !request.differs.contains_key(&at) {
                unlike.push(format!(
                    "{} ({}):\n  at {at}\n  memory: {ours}\n  real:   {theirs}",
                    request.name, request.send
                ));
            }
        }
    }
    ensure!(unlike.is_empty(), "{} differences:\n{}", unlike.len(), unlike.join("\n"));
    Ok(())
}
