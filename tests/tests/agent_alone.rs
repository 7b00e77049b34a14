//! An agent alone: what its restarts write, and what ten thousand objects cost.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use taffrail_agent::kube::inventory::Inventories;
use taffrail_agent::kube::secret::Store;
use taffrail_agent::mark::{Mirrored, Place};
use taffrail_agent::park::{self, Park as _};
use taffrail_core::desired::{Mark, Permit};
use taffrail_core::event::AgentFact;
use taffrail_core::id::AccountKey;
use taffrail_proto::journal::{Chain, Parked};
use taffrail_testkit::apiserver::{Fault, Seen};
use taffrail_tests::alone::{Alone, HOME, NAMESPACE, Running, app};
use taffrail_tests::harness::wait_for;

fn settings(count: usize, round: &str) -> Vec<Value> {
    let one = |number| {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": format!("settings-{number}")},
            "data": {"round": round},
        })
    };
    (0..count).map(one).collect()
}

async fn people(alone: &Alone) -> Result<Api<k8s_openapi::api::core::v1::ConfigMap>> {
    let read = Kubeconfig::read_from(alone.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(Api::namespaced(kube::Client::try_from(config)?, NAMESPACE))
}

async fn delivered(alone: &mut Alone, objects: &[Value]) -> Result<(Running, Mark)> {
    let mut running = alone.start().await?;
    let index = alone.next(objects)?;
    let mark = index.index.mark;
    running.handle.index(index, Permit::None).await;
    running.synced(mark).await.context("deliver")?;
    Ok((running, mark))
}

async fn edit(alone: &Alone, name: &str) -> Result<()> {
    let edit = json!({"data": {"round": "by hand"}});
    people(alone).await?.patch(name, &PatchParams::default(), &Patch::Merge(&edit)).await?;
    Ok(())
}

async fn delete(alone: &Alone, name: &str) -> Result<()> {
    people(alone).await?.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Which objects were written, each once, since the counts were reset.
fn written(alone: &Alone) -> Vec<String> {
    let applied = |seen: &Seen| seen.verb == "apply" && seen.resource == "configmaps" && !seen.dry_run;
    let mut names: Vec<String> =
        alone.server.faults().seen().into_iter().filter(applied).map(|seen| seen.name).collect();
    names.sort();
    names.dedup();
    names
}

/// Waits until a start is over: an object is edited twice, and the second edit is healed only when everything was gone
/// through. Counts on from so many heals.
async fn started(alone: &Alone, running: &mut Running, heals: usize) -> Result<()> {
    for heal in 1..=2 {
        edit(alone, "settings-3").await?;
        running.facts("DriftHealed", heals + heal).await?;
    }
    Ok(())
}

fn applies(alone: &Alone) -> u64 {
    alone.server.faults().count("apply", "configmaps")
}

fn healed(facts: &[AgentFact]) -> Vec<String> {
    let object = |fact: &AgentFact| match fact {
        AgentFact::DriftHealed { object, .. } => Some(object.name.clone()),
        _ => None,
    };
    let mut names: Vec<String> = facts.iter().filter_map(object).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_writes_no_object_that_nobody_touched() -> Result<()> {
    let mut alone = Alone::new().await?;
    let (running, mark) = delivered(&mut alone, &settings(60, "1")).await?;
    ensure!(applies(&alone) == 60, "{} applies", applies(&alone));
    running.stop().await?;

    alone.server.faults().reset_counts();
    let mut running = alone.start().await?;
    started(&alone, &mut running, 0).await?;
    ensure!(written(&alone) == ["settings-3"], "{:?}", written(&alone));
    running.stop().await?;

    // What was touched while the agent was away is written, and nothing else is.
    edit(&alone, "settings-1").await?;
    delete(&alone, "settings-2").await?;
    alone.server.faults().reset_counts();
    let mut running = alone.start().await?;
    started(&alone, &mut running, 3).await?;
    ensure!(written(&alone) == ["settings-1", "settings-2", "settings-3"], "{:?}", written(&alone));
    running.synced(mark).await?;
    running.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_objects_are_delivered_and_one_of_them_is_healed_by_one_write() -> Result<()> {
    let mut alone = Alone::new().await?;
    let begun = std::time::Instant::now();
    let (mut running, _) = delivered(&mut alone, &settings(10_000, "1")).await?;
    let delivered = begun.elapsed();
    ensure!(applies(&alone) == 10_000, "{} applies", applies(&alone));
    running.receive().await?;
    alone.server.faults().reset_counts();
    let begun = std::time::Instant::now();
    edit(&alone, "settings-1").await?;
    delete(&alone, "settings-2").await?;
    let facts = running.facts("DriftHealed", 2).await?;
    println!("10,000 objects delivered in {delivered:?}, two healed in {:?}", begun.elapsed());
    ensure!(healed(&facts) == ["settings-1", "settings-2"], "{facts:?}");
    ensure!(applies(&alone) == 2, "{} applies", applies(&alone));

    let index = alone.next(&settings(10_000, "1")[..9_990])?;
    let mark = index.index.mark;
    running.handle.index(index, Permit::None).await;
    let status = running.synced(mark).await?;
    ensure!(status.objects == 9_990, "{status:?}");
    ensure!(applies(&alone) == 2, "a bundle without ten of the objects writes none of the others");
    running.stop().await
}

#[tokio::test]
async fn parked_events_and_the_mark_stand_in_one_secret_and_another_membership_sees_neither() -> Result<()> {
    let alone = Alone::new().await?;
    let clients = alone.clients().await?;
    let place = |letter: &str| -> Result<Place> {
        let account = AccountKey::parse(&format!("A{}", letter.repeat(55)))?;
        Ok(Place::new(Store::new(&clients.reader, HOME), account))
    };
    let (ours, other) = (place("B")?, place("C")?);
    ensure!(ours.read().await? == Mirrored::default(), "nothing is there");
    let events = vec![(Bytes::from_static(b"header"), Bytes::from_static(b"payload"))];
    let chains = vec![Chain { incarnation: 3, from: 7, events }];
    let parked = Parked { chains, incarnation: 3, last_seq: 7 };
    ours.park(Some(parked.clone())).await?;
    let held = Mark { epoch: 1, generation: 9 };
    ours.put_mark(held, 3).await?;
    let read = ours.read().await?;
    ensure!((read.held, read.incarnation) == (held, 3), "{read:?}");
    let found = read.parked.as_deref().and_then(park::unpack);
    ensure!(found == Some(parked), "a mark that is written later leaves what is parked: {found:?}");
    ours.park(None).await?;
    let read = ours.read().await?;
    ensure!((read.held, read.parked) == (held, None), "forgotten, and the mark stays");
    ensure!(other.read().await? == Mirrored::default(), "numbers of one membership mean nothing to another");
    other.put_mark(Mark::default(), 1).await?;
    ensure!(ours.read().await? == Mirrored::default(), "and a new one begins anew");
    Ok(())
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"round": "1"}})
}

/// Waits until the namespace has exactly these objects, by name and round.
async fn has(alone: &Alone, wanted: &[Value]) -> Result<()> {
    let of = |object: &Value| (object["metadata"]["name"].to_string(), object["data"]["round"].to_string());
    let wanted: BTreeSet<(String, String)> = wanted.iter().map(of).collect();
    let people = people(alone).await?;
    wait_for("the cluster is as it should be", Duration::from_mins(1), async || {
        let listed = people.list(&ListParams::default()).await?;
        let found: BTreeSet<(String, String)> =
            listed.items.iter().map(|item| Ok(of(&serde_json::to_value(item)?))).collect::<Result<_>>()?;
        ensure!(found == wanted, "it has {found:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_restored_from_a_backup_is_brought_back_and_only_what_differs_is_written()
-> Result<()> {
    let mut alone = Alone::new().await?;
    let mut first = settings(4, "1");
    first.extend(["leaves", "same"].map(map));
    let (mut running, _) = delivered(&mut alone, &first).await?;
    let backup = alone.server.backup();
    let mut second = settings(4, "2");
    second.extend(["comes", "same"].map(map));
    let index = alone.next(&second)?;
    let mark = index.index.mark;
    running.handle.index(index, Permit::None).await;
    running.synced(mark).await?;
    let inventories = Inventories::new(&alone.clients().await?.reader, HOME);
    wait_for("the inventory has forgotten what left", Duration::from_mins(1), async || {
        let members = inventories.read(&app()).await?.unwrap_or_default();
        Ok((!members.is_empty() && members.iter().all(|key| key.name != "leaves")).then_some(()))
    })
    .await?;

    alone.server.faults().reset_counts();
    // An API server that is restored is away for a while, and its watches end with it.
    alone.server.faults().next(1, "watch", "configmaps", Fault::Unavailable);
    alone.server.restore(backup.clone());
    running.facts("ClusterWentBack", 1).await.context("noticed by the watch")?;
    has(&alone, &second).await?;
    let wanted = ["comes", "settings-0", "settings-1", "settings-2", "settings-3"];
    ensure!(written(&alone) == wanted, "{:?}", written(&alone));
    running.synced(mark).await?;
    running.stop().await?;

    alone.server.faults().reset_counts();
    alone.server.restore(backup);
    let mut running = alone.start().await?;
    running.facts("ClusterWentBack", 2).await.context("noticed by what was written")?;
    has(&alone, &second).await?;
    ensure!(written(&alone) == wanted, "{:?}", written(&alone));
    running.stop().await?;

    alone.server.faults().reset_counts();
    let mut running = alone.start().await?;
    let heals = healed(&running.facts("DriftHealed", 1).await?).len();
    started(&alone, &mut running, heals).await?;
    ensure!(written(&alone) == ["settings-3"], "and then it rests: {:?}", written(&alone));
    ensure!(
        running.facts("ClusterWentBack", 2).await?.iter().filter(|it| it.kind() == "ClusterWentBack").count()
            == 2
    );
    running.stop().await
}
