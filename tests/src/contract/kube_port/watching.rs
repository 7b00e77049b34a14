//! Watches: every difference once, nothing gone by mistake.

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use taffrail_agent::kube::{Change, Fingerprint, Gvk, Kind, Objects, Propagation, Watches};
use taffrail_core::object::Key;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::bench::{Bench, LIMIT, config_map};
use super::objects::definition;

/// A running watch of one case.
pub struct Watching {
    changes: Receiver<Change>,
    namespace: String,
    _watches: Watches,
    _stops: DropGuard,
}

impl Watching {
    /// Watches kinds; the task ends with the value.
    pub fn begin(bench: &Bench, kinds: &[Gvk]) -> Watching {
        let (watches, task, changes) = Watches::new(bench.port.clients(), bench.port.discovery());
        watches.set_kinds(kinds.iter().cloned().collect());
        let stop = CancellationToken::new();
        tokio::spawn(task.run(stop.clone()));
        let namespace = bench.namespace.clone();
        Watching { changes, namespace, _watches: watches, _stops: stop.drop_guard() }
    }

    /// The next change that is not about objects of other cases.
    pub async fn next(&mut self) -> Result<Change> {
        loop {
            let change = timeout(LIMIT, self.changes.recv()).await.context("no change in time")?;
            let change = change.context("the watch ended")?;
            let about = match &change {
                Change::Seen { key, .. } | Change::Gone { key } => key.namespace == self.namespace,
                Change::Listed { .. } | Change::Failing { .. } => true,
            };
            if about {
                return Ok(change);
            }
        }
    }

    /// The next change, which must be an object that is seen.
    pub async fn seen(&mut self) -> Result<(Key, Fingerprint)> {
        match self.next().await? {
            Change::Seen { key, print } => Ok((key, print)),
            other => bail!("not seen: {other:?}"),
        }
    }
}

/// The kind that the cases watch.
pub fn maps() -> Gvk {
    Gvk::new("v1", "ConfigMap")
}

/// Promises 1 and 2 of the watches.
pub async fn a_watch_tells_every_difference_once(bench: &Bench) -> Result<()> {
    let before = bench.apply(config_map("before", "a")).await?;
    let mut watching = Watching::begin(bench, &[maps()]);
    let (key, print) = watching.seen().await?;
    ensure!((&key, &*print.uid) == (&before.key, before.uid.as_str()), "{key} {print:?}");
    ensure!(matches!(watching.next().await?, Change::Listed { gvk } if gvk == maps()));

    let applied = bench.apply(config_map("it", "a")).await?;
    let (key, print) = watching.seen().await?;
    ensure!(key == applied.key && *print.resource_version == *applied.resource_version, "{key} {print:?}");
    ensure!(print.owned == applied.owned.fingerprint() && !print.deleting, "{print:?}");

    bench.apply(config_map("it", "a")).await?; // changes nothing, so it tells nothing
    let edit =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "it"}, "data": {"a": "b"}});
    bench.merge("kubectl-edit", edit).await?;
    let (key, print) = watching.seen().await?;
    ensure!(key == applied.key && print.owned != applied.owned.fingerprint(), "{key} {print:?}");

    bench.port.delete(&applied.key, None, Propagation::Background).await?;
    let gone = watching.next().await?;
    ensure!(gone == Change::Gone { key: applied.key }, "{gone:?}");
    Ok(())
}

/// Promise 4 of the watches.
pub async fn an_object_without_its_label_is_gone_but_can_be_read(bench: &Bench) -> Result<()> {
    let mut watching = Watching::begin(bench, &[maps(), Gvk::new("v1", "Secret")]);
    for _ in 0..2 {
        ensure!(matches!(watching.next().await?, Change::Listed { .. }));
    }
    let applied = bench.apply(config_map("it", "a")).await?;
    watching.seen().await?;
    let edit = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "it", "labels": {"taffrail.dev/app": null}}});
    bench.merge("kubectl-edit", edit).await?;
    let gone = watching.next().await?;
    ensure!(gone == Change::Gone { key: applied.key.clone() }, "{gone:?}");
    ensure!(bench.port.get(&applied.key).await?.is_some());
    let healed = bench.apply(config_map("it", "a")).await?;
    let (key, print) = watching.seen().await?;
    ensure!(key == applied.key && print.owned == healed.owned.fingerprint(), "{key} {print:?}");
    Ok(())
}

/// Promise 3 of the watches.
pub async fn a_kind_that_is_not_served_fails_until_it_is(bench: &Bench) -> Result<()> {
    let gvk = Gvk::new("watch.example.com/v1", "Widget");
    let mut watching = Watching::begin(bench, std::slice::from_ref(&gvk));
    let Change::Failing { gvk: failing, error } = watching.next().await? else { bail!("it fails first") };
    ensure!(failing == gvk && error.kind == Kind::MissingKind, "{error:?}");
    bench.port.apply(&Bench::request_in("", definition("watch.example.com"))).await?;
    loop {
        match watching.next().await? {
            Change::Listed { gvk: listed } if listed == gvk => return Ok(()),
            Change::Failing { .. } => {}
            other => bail!("{other:?}"),
        }
    }
}
