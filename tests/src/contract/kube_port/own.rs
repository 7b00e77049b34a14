//! The agent's own objects: secrets, inventories, the lease.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use taffrail_agent::kube::Kind;
use taffrail_agent::kube::inventory::Inventories;
use taffrail_agent::kube::lease::{Election, Role, Settings};
use taffrail_agent::kube::secret::{Expect, Store};
use taffrail_core::id::AppId;
use taffrail_core::object::Key;
use tokio::sync::watch::Receiver;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, HOME, LIMIT};

fn data(value: &str) -> BTreeMap<String, Vec<u8>> {
    [("mark".to_owned(), value.as_bytes().to_vec())].into()
}

/// No write undoes another's.
pub async fn a_secret_changes_only_from_the_version_that_was_read(bench: &Bench) -> Result<()> {
    let store = Store::new(&bench.port.clients().reader, &bench.namespace);
    ensure!(store.get("it").await?.is_none());
    let first = store.put("it", &data("one"), &Expect::Absent).await?;
    let conflict = store.put("it", &data("two"), &Expect::Absent).await;
    ensure!(conflict.as_ref().is_err_and(|error| error.kind == Kind::Conflict), "{conflict:?}");
    let second = store.put("it", &data("two"), &Expect::Version(first.clone())).await?;
    let conflict = store.put("it", &data("three"), &Expect::Version(first)).await;
    ensure!(conflict.as_ref().is_err_and(|error| error.kind == Kind::Conflict), "{conflict:?}");
    let stored = store.get("it").await?.context("it is there")?;
    ensure!((stored.data, &stored.version) == (data("two"), &second));
    store.remove("it").await?;
    store.remove("it").await?;
    ensure!(store.get("it").await?.is_none());
    let conflict = store.put("it", &data("three"), &Expect::Version(second)).await;
    ensure!(conflict.as_ref().is_err_and(|error| error.kind == Kind::Conflict), "{conflict:?}");
    Ok(())
}

/// What was written is what is read, and an app without an inventory is told from an empty one.
pub async fn an_inventory_is_read_back(bench: &Bench) -> Result<()> {
    let inventories = Inventories::new(&bench.port.clients().reader, HOME);
    let app = AppId::parse("shop/inventory-of-the-contract")?;
    inventories.remove(&app).await?;
    ensure!(inventories.read(&app).await?.is_none());
    let key = |kind: &str| Key {
        group: "apps".to_owned(),
        kind: kind.to_owned(),
        namespace: bench.namespace.clone(),
        name: "it".to_owned(),
    };
    for members in
        [BTreeSet::new(), [key("Deployment")].into(), [key("Deployment"), key("StatefulSet")].into()]
    {
        inventories.write(&app, &members).await?;
        inventories.write(&app, &members).await?;
        ensure!(inventories.read(&app).await?.as_ref() == Some(&members));
    }
    inventories.remove(&app).await?;
    ensure!(inventories.read(&app).await?.is_none());
    Ok(())
}

async fn leading(role: &mut Receiver<Role>) -> Result<u64> {
    let wait = role.wait_for(|role| matches!(role, Role::Leading { .. }));
    let role = timeout(LIMIT, wait).await.context("nobody leads in time")??.clone();
    Ok(if let Role::Leading { fence } = role { fence } else { 0 })
}

/// One acts at a time, and the next one can be told from it.
pub async fn one_candidate_leads_and_the_next_has_a_greater_fence(bench: &Bench) -> Result<()> {
    let candidate = |name: &str| {
        let retry = Duration::from_millis(200);
        let settings = Settings { retry, ..Settings::new(&bench.namespace, "agent", name) };
        Election::new(&bench.port.clients().reader, settings)
    };
    let ((first, mut first_role), (second, mut second_role)) = (candidate("first"), candidate("second"));
    let (first_stop, second_stop) = (CancellationToken::new(), CancellationToken::new());
    let first = tokio::spawn(first.run(first_stop.clone()));
    let fence = leading(&mut first_role).await?;
    let second = tokio::spawn(second.run(second_stop.clone()));
    let knows = |role: &Role| matches!(role, Role::Standby { holder: Some(holder) } if holder == "first");
    timeout(LIMIT, second_role.wait_for(knows)).await.context("the second one sees the first")??;
    ensure!(*first_role.borrow() == Role::Leading { fence });

    first_stop.cancel();
    first.await?;
    let next = leading(&mut second_role).await?;
    ensure!(next > fence, "{next} after {fence}");
    second_stop.cancel();
    second.await?;
    Ok(())
}
