//! The agent's port to the cluster, before a real control plane.

use anyhow::{Result, bail, ensure};
use taffrail_agent::kube::{Change, Kind, Objects};
use taffrail_tests::cluster::{Cluster, Options};
use taffrail_tests::contract::kube_port::watching::{Watching, maps};
use taffrail_tests::contract::kube_port::{Bench, config_map};

/// A bench before the cluster that all cases share, in a namespace of its own.
async fn bench(case: &str) -> Result<Bench> {
    let cluster = Cluster::shared().await?;
    Bench::prepare(&cluster.kubeconfig_path(), case).await
}

taffrail_tests::kube_port_contract!(bench);

taffrail_tests::kube_port_contract!(bench:
    refusals::a_policy_denies_with_its_message,
    refusals::a_quota_is_named,
    refusals::an_identity_without_rights_is_forbidden,
    refusals::a_namespace_that_is_leaving_is_named,
    refusals::a_secret_that_breaks_its_schema_is_invalid_and_not_quoted,
    watching::rights_by_namespace_are_enough_for_watches_by_namespace,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_unavailable_and_nothing_is_gone() -> Result<()> {
    let mut cluster = Cluster::start(Options::bare()).await?;
    let bench = Bench::prepare(&cluster.kubeconfig_path(), "away").await?;
    let applied = bench.apply(config_map("it", "a")).await?;
    let mut watching = Watching::begin(&bench, &[maps()]);
    watching.seen().await?;
    ensure!(matches!(watching.next().await?, Change::Listed { .. }));

    cluster.kill_api_server();
    let Err(error) = bench.port.get(&applied.key).await else { bail!("an answer from nobody") };
    ensure!(error.kind == Kind::Unavailable && error.retriable, "{error:?}");
    let failing = watching.next().await?;
    ensure!(matches!(failing, Change::Failing { .. }), "{failing:?}");

    cluster.start_api_server().await?;
    let again = bench.apply(config_map("it", "b")).await?;
    loop {
        match watching.next().await? {
            Change::Failing { .. } | Change::Listed { .. } | Change::WentBack { .. } => {}
            Change::Seen { key, print } => {
                ensure!(
                    key == applied.key && *print.resource_version == *again.resource_version,
                    "{print:?}"
                );
                return Ok(());
            }
            other @ Change::Gone { .. } => bail!("{other:?}"),
        }
    }
}
