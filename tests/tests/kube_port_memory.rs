//! The agent's port to the cluster, before the in-memory API server: the contract, and faults on order.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use taffrail_agent::kube::client::APPLIER;
use taffrail_agent::kube::{Access, ApplyRequest, Change, Deleted, Kind, Objects, Propagation};
use taffrail_testkit::apiserver::{ApiServer, Fault, Options};
use taffrail_tests::contract::kube_port::watching::{Watching, maps};
use taffrail_tests::contract::kube_port::{Bench, config_map};

/// A server of the case's own, and a bench before it with a short time limit.
async fn server(case: &str) -> Result<(ApiServer, Bench)> {
    let server = ApiServer::start(Options::default()).await.context("start the server")?;
    let file = tempfile::NamedTempFile::new().context("make a file for the kubeconfig")?;
    std::fs::write(file.path(), server.kubeconfig()).context("write the kubeconfig")?;
    let access = Access {
        kubeconfig: Some(file.path().to_owned()),
        request_limit: Duration::from_secs(2),
        silence: Duration::from_secs(4),
        ..Access::default()
    };
    let bench = Bench::prepare_with(access, case).await?;
    Ok((server, bench))
}

/// The bench alone; its server lives as long as the test process.
async fn bench(case: &str) -> Result<Bench> {
    let (server, bench) = server(case).await?;
    Box::leak(Box::new(server));
    Ok(bench)
}

taffrail_tests::kube_port_contract!(bench);

#[tokio::test]
async fn people_s_objects_are_written_and_read_as_the_applier() -> Result<()> {
    let (server, bench) = server("identities").await?;
    server.faults().reset_counts();
    let applied = bench.apply(config_map("it", "a")).await?;
    bench.port.get(&applied.key).await?;
    let seen = server.faults().seen();
    let who = |verb: &str| {
        let request = seen.iter().find(|seen| seen.verb == verb && seen.resource == "configmaps");
        request.map(|seen| seen.impersonated.clone())
    };
    ensure!(who("apply") == Some(Some(APPLIER.to_owned())), "{seen:?}");
    ensure!(who("get") == Some(Some(APPLIER.to_owned())), "{seen:?}");
    ensure!(seen.iter().all(|seen| seen.verb != "apply" || seen.manager == "taffrail"), "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn a_deletion_that_meets_another_writer_is_tried_again() -> Result<()> {
    let (server, bench) = server("races").await?;
    let applied = bench.apply(config_map("it", "a")).await?;
    server.faults().next(2, "delete", "configmaps", Fault::Conflict);
    let deleted = bench.port.delete(&applied.key, Some(&applied.uid), Propagation::Background).await?;
    ensure!(deleted == Deleted::Gone, "{deleted:?}");
    ensure!(bench.port.get(&applied.key).await?.is_none(), "it is still there");
    Ok(())
}

#[tokio::test]
async fn faults_are_told_apart_and_the_next_request_is_free_of_them() -> Result<()> {
    let (server, bench) = server("faults").await?;
    let retry_after = Some(Duration::from_secs(7));
    for (fault, kind, retriable) in [
        (Fault::TooManyRequests { retry_after: 7 }, Kind::TooMany { retry_after }, true),
        (Fault::Internal, Kind::Unavailable, true),
        (Fault::Unavailable, Kind::Unavailable, true),
        (Fault::Conflict, Kind::Conflict, true),
        (Fault::Hang, Kind::Timeout, true),
        (Fault::LoseAnswer, Kind::Unavailable, true),
    ] {
        server.faults().next(1, "apply", "configmaps", fault.clone());
        let Err(error) = bench.apply(config_map("it", "a")).await else { bail!("{fault:?} was not told") };
        let error = error.downcast::<taffrail_agent::kube::ApiError>()?;
        ensure!((error.kind, error.retriable) == (kind, retriable), "{fault:?}: {error:?}");
        bench.apply(config_map("it", "a")).await.with_context(|| format!("after {fault:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn an_apply_whose_answer_was_lost_is_repeated_without_a_change() -> Result<()> {
    let (server, bench) = server("lost").await?;
    let before = bench.apply(config_map("it", "a")).await?;
    server.faults().next(1, "apply", "configmaps", Fault::LoseAnswer);
    ensure!(bench.apply(config_map("it", "b")).await.is_err());
    let stored = bench.port.get(&before.key).await?.context("it is there")?;
    let last = stored["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    let again = bench.port.apply(&ApplyRequest { last, ..bench.request(config_map("it", "b")) }).await?;
    ensure!(!again.changed && stored["data"]["a"] == "b", "{again:?}");
    Ok(())
}

#[tokio::test]
async fn a_history_that_is_gone_is_listed_again_and_nothing_is_told_twice() -> Result<()> {
    let (server, bench) = server("gone").await?;
    let applied = bench.apply(config_map("it", "a")).await?;
    server.faults().next(1, "watch", "configmaps", Fault::Expired);
    let mut watching = Watching::begin(&bench, &[maps()]);
    let (key, _) = watching.seen().await?;
    ensure!(key == applied.key);
    ensure!(matches!(watching.next().await?, Change::Listed { .. }));
    loop {
        match watching.next().await? {
            Change::Failing { error, .. } => ensure!(error.kind == Kind::Gone, "{error:?}"),
            Change::Listed { .. } => return Ok(()),
            other => bail!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_watch_that_is_never_answered_is_given_up_and_begun_again() -> Result<()> {
    let (server, bench) = server("mute").await?;
    bench.apply(config_map("it", "a")).await?;
    server.faults().next(1, "watch", "configmaps", Fault::Hang);
    let mut watching = Watching::begin(&bench, &[maps()]);
    watching.seen().await?;
    ensure!(matches!(watching.next().await?, Change::Listed { .. }));
    let again = bench.apply(config_map("it", "b")).await?;
    loop {
        match watching.next().await? {
            Change::Failing { .. } | Change::Listed { .. } => {}
            Change::Seen { print, .. } if *print.resource_version == *again.resource_version => return Ok(()),
            other => bail!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_list_that_fails_is_told_and_done_again() -> Result<()> {
    let (server, bench) = server("list").await?;
    server.faults().next(2, "list", "configmaps", Fault::Unavailable);
    let mut watching = Watching::begin(&bench, &[maps()]);
    let mut failures = 0;
    loop {
        match watching.next().await? {
            Change::Failing { error, .. } => {
                ensure!(error.kind == Kind::Unavailable, "{error:?}");
                failures += 1;
            }
            Change::Listed { .. } => break,
            other => bail!("{other:?}"),
        }
    }
    ensure!(failures == 2, "{failures}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_requests_are_in_flight_than_allowed() -> Result<()> {
    let (server, bench) = server("flight").await?;
    bench.apply(config_map("it", "a")).await?;
    server.faults().set_latency(Duration::from_millis(100));
    let begin = tokio::time::Instant::now();
    let requests: Vec<_> =
        (0..24).map(|number| bench.request(config_map(&format!("it-{number}"), "a"))).collect();
    futures::future::try_join_all(requests.iter().map(|request| bench.port.apply(request))).await?;
    let took = begin.elapsed();
    ensure!(took >= Duration::from_millis(290), "24 requests, 8 at a time, 100 ms each: {took:?}");
    Ok(())
}
