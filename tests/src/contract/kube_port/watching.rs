//! Watches: every difference once, nothing gone by mistake.

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use taffrail_agent::kube::{
    Access, Api as Port, Change, Clients, Fingerprint, Gvk, Kind, Objects, Propagation, Watches,
};
use taffrail_core::object::Key;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::bench::{Bench, HOME, LIMIT, config_map};
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
        Watching::within(bench, &bench.port, kinds, &[])
    }

    /// The same through another port and in these namespaces alone.
    fn within(bench: &Bench, port: &Port, kinds: &[Gvk], namespaces: &[&str]) -> Watching {
        let namespaces: Vec<String> = namespaces.iter().map(|&name| name.to_owned()).collect();
        let (watches, task, changes) = Watches::new(port.clients(), port.discovery(), &namespaces);
        watches.set_kinds(kinds.iter().cloned().collect());
        let stop = CancellationToken::new();
        tokio::spawn(task.run(stop.clone()));
        let namespace = bench.namespace.clone();
        Watching { changes, namespace, _watches: watches, _stops: stop.drop_guard() }
    }

    /// The next change that is not about objects of other cases.
    pub async fn next(&mut self) -> Result<Change> {
        loop {
            let change = self.any().await?;
            let about = match &change {
                Change::Seen { key, .. } | Change::Gone { key } => key.namespace == self.namespace,
                Change::Listed { .. } | Change::WentBack { .. } | Change::Failing { .. } => true,
            };
            if about {
                return Ok(change);
            }
        }
    }

    /// The next change, whatever it is about.
    async fn any(&mut self) -> Result<Change> {
        let change = timeout(LIMIT, self.changes.recv()).await.context("no change in time")?;
        change.context("the watch ended")
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
    ensure!(matches!(watching.next().await?, Change::Listed { gvk, .. } if gvk == maps()));

    let written = bench.apply(config_map("it", "a")).await?;
    let (key, print) = watching.seen().await?;
    ensure!(key == written.key && *print.resource_version == *written.resource_version, "{key} {print:?}");
    ensure!(print.owned == written.owned.fingerprint() && !print.deleting, "{print:?}");

    bench.apply(config_map("it", "a")).await?; // changes nothing, so it tells nothing
    let edit =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "it"}, "data": {"a": "b"}});
    bench.merge("kubectl-edit", edit).await?;
    let (key, print) = watching.seen().await?;
    ensure!(key == written.key && print.owned != written.owned.fingerprint(), "{key} {print:?}");

    bench.port.delete(&written.key, None, Propagation::Background).await?;
    let gone = watching.next().await?;
    ensure!(gone == Change::Gone { key: written.key }, "{gone:?}");
    Ok(())
}

/// Promise 4 of the watches.
pub async fn an_object_without_its_label_is_gone_but_can_be_read(bench: &Bench) -> Result<()> {
    let mut watching = Watching::begin(bench, &[maps(), Gvk::new("v1", "Secret")]);
    for _ in 0..2 {
        ensure!(matches!(watching.next().await?, Change::Listed { .. }));
    }
    let written = bench.apply(config_map("it", "a")).await?;
    watching.seen().await?;
    let edit = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "it", "labels": {"taffrail.dev/app": null}}});
    bench.merge("kubectl-edit", edit).await?;
    let gone = watching.next().await?;
    ensure!(gone == Change::Gone { key: written.key.clone() }, "{gone:?}");
    ensure!(bench.port.get(&written.key).await?.is_some());
    let healed = bench.apply(config_map("it", "a")).await?;
    let (key, print) = watching.seen().await?;
    ensure!(key == written.key && print.owned == healed.owned.fingerprint(), "{key} {print:?}");
    Ok(())
}

/// Promise 3 of the watches.
pub async fn a_kind_that_is_not_served_fails_until_it_is(bench: &Bench) -> Result<()> {
    let gvk = Gvk::new("watch.example.com/v1", "Widget");
    let mut watching = Watching::begin(bench, std::slice::from_ref(&gvk));
    let Change::Failing { gvk: failing, error, .. } = watching.next().await? else { bail!("it fails first") };
    ensure!(failing == gvk && error.kind == Kind::MissingKind, "{error:?}");
    bench.port.apply(&Bench::request_in("", definition("watch.example.com"))).await?;
    loop {
        match watching.next().await? {
            Change::Listed { gvk: listed, .. } if listed == gvk => return Ok(()),
            Change::Failing { .. } => {}
            other => bail!("{other:?}"),
        }
    }
}

/// A watch by namespace: what is in other namespaces is not its business, and a kind that is in none is refused.
pub async fn a_watch_by_namespace_sees_what_is_in_them_and_nothing_else(bench: &Bench) -> Result<()> {
    let outside = bench.port.apply(&Bench::request_in("default", config_map("outside", "a"))).await?;
    let written = bench.apply(config_map("it", "a")).await?;
    let empty = "nobody-made-this";
    let mut watching = Watching::within(bench, &bench.port, &[maps()], &[&bench.namespace, empty]);
    let (mut listed, mut seen) = (Vec::new(), Vec::new());
    while listed.len() < 2 {
        match watching.any().await? {
            Change::Listed { namespace, .. } => listed.extend(namespace),
            Change::Seen { key, .. } => seen.push(key),
            other => bail!("{other:?}"),
        }
    }
    listed.sort();
    ensure!(listed == [empty, &bench.namespace] && seen == [written.key.clone()], "{listed:?}, {seen:?}");

    bench.port.apply(&Bench::request_in("default", config_map("outside", "b"))).await?;
    bench.merge("kubectl-edit", edit("b")).await?;
    let Change::Seen { key, print } = watching.any().await? else { bail!("the edit is seen first") };
    ensure!(key == written.key && print.owned != written.owned.fingerprint(), "{key} {print:?}");
    bench.port.delete(&outside.key, None, Propagation::Background).await?;

    let definitions = [Gvk::new("v1", "Namespace")];
    let mut watching = Watching::within(bench, &bench.port, &definitions, &[&bench.namespace]);
    let Change::Failing { error, .. } = watching.any().await? else {
        bail!("no namespace is in a namespace")
    };
    ensure!(error.kind == Kind::Forbidden, "{error:?}");
    Ok(())
}

/// An applier whose rights are bound to a namespace can watch there, and neither elsewhere nor over the cluster.
pub async fn rights_by_namespace_are_enough_for_watches_by_namespace(bench: &Bench) -> Result<()> {
    let group = "rbac.authorization.k8s.io";
    let all = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    let role = json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": "narrow"}, "rules": [all]});
    let binding = json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": "narrow"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "narrow"},
        "subjects": [{"kind": "ServiceAccount", "name": "narrow", "namespace": HOME}]});
    bench.edit("admin", role).await?;
    bench.edit("admin", binding).await?;
    let applier = format!("system:serviceaccount:{HOME}:narrow");
    let access = Access { kubeconfig: Some(bench.kubeconfig.clone()), applier, ..Access::default() };
    let narrow = Port::new(Clients::new(&access).await?);

    let mut everywhere = Watching::within(bench, &narrow, &[maps()], &[]);
    let Change::Failing { error, .. } = everywhere.any().await? else { bail!("it may look everywhere") };
    ensure!(error.kind == Kind::Forbidden, "{error:?}");

    let mut watching = Watching::within(bench, &narrow, &[maps()], &[&bench.namespace, "default"]);
    let mut refused = false;
    loop {
        match watching.any().await? {
            Change::Listed { namespace, .. } => {
                ensure!(namespace.as_deref() == Some(&bench.namespace), "{namespace:?} was listed");
                break;
            }
            // Rights take a moment until they are in force.
            Change::Failing { namespace, error, .. } => {
                ensure!(error.kind == Kind::Forbidden, "{error:?}");
                refused |= namespace.as_deref() == Some("default");
            }
            other => bail!("{other:?}"),
        }
    }
    let written = bench.apply(config_map("it", "a")).await?;
    bench.merge("kubectl-edit", edit("b")).await?;
    let mut prints = Vec::new();
    while prints.len() < 2 || !refused {
        match watching.any().await? {
            Change::Seen { key, print } if key == written.key => prints.push(print),
            Change::Failing { namespace, .. } => refused |= namespace.as_deref() == Some("default"),
            other => bail!("{other:?}"),
        }
    }
    ensure!(
        prints[0].owned == written.owned.fingerprint() && prints[1].owned != prints[0].owned,
        "{prints:?}"
    );
    Ok(())
}

/// What somebody does to the value of the `ConfigMap` that the cases apply.
fn edit(value: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "it"}, "data": {"a": value}})
}
