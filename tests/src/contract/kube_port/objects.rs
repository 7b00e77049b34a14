//! Applying, reading, deleting.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use taffrail_agent::kube::{
    ApiError, ApplyRequest, Conflicts, Deleted, Gvk, Kind, Mode, Objects, Propagation, Serving,
};
use taffrail_core::object::{Key, lost};

use super::bench::{Bench, config_map, eventually};

pub(super) fn refusal<T: std::fmt::Debug>(result: Result<T, ApiError>) -> Result<ApiError> {
    match result {
        Err(error) => Ok(error),
        Ok(answer) => bail!("not refused: {answer:?}"),
    }
}

fn key(bench: &Bench, group: &str, kind: &str, name: &str) -> Key {
    let text = |text: &str| text.to_owned();
    Key { group: text(group), kind: text(kind), namespace: bench.namespace.clone(), name: text(name) }
}

fn deployment(name: &str, app: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": app}},
            "template": {
                "metadata": {"labels": {"app": app}},
                "spec": {"containers": [{"name": "main", "image": "registry.example/web:1"}]},
            },
        },
    })
}

/// Promise 2: the same object twice is one write.
pub async fn an_applied_object_is_ours_and_applying_it_again_changes_nothing(bench: &Bench) -> Result<()> {
    let first = bench.apply(config_map("it", "a")).await?;
    ensure!(first.created && first.changed && !first.uid.is_empty(), "{first:?}");
    ensure!(first.owned.paths().any(|path| path == ".data.a"), "{:?}", first.owned);
    let live = bench.port.get(&first.key).await?.context("it is there")?;
    ensure!(live["data"]["a"] == "a" && live["metadata"]["namespace"] == bench.namespace.as_str(), "{live}");
    ensure!(live["metadata"]["annotations"]["taffrail.dev/app"] == "shop/payments", "{live}");

    let again =
        ApplyRequest { last: Some(first.resource_version.clone()), ..bench.request(config_map("it", "a")) };
    let second = bench.port.apply(&again).await?;
    ensure!(!second.created && !second.changed, "{second:?}");
    ensure!((&second.uid, &second.owned) == (&first.uid, &first.owned), "{second:?}");

    let other = ApplyRequest { last: Some(first.resource_version), ..bench.request(config_map("it", "b")) };
    let third = bench.port.apply(&other).await?;
    ensure!(!third.created && third.changed, "{third:?}");
    Ok(())
}

/// Promise 3.
pub async fn a_dry_run_stores_nothing(bench: &Bench) -> Result<()> {
    let request = ApplyRequest { mode: Mode::DryRun, ..bench.request(config_map("it", "a")) };
    let applied = bench.port.apply(&request).await?;
    ensure!(applied.created, "{applied:?}");
    ensure!(bench.port.get(&applied.key).await?.is_none());
    Ok(())
}

/// Promise 1.
pub async fn an_absent_object_is_none_and_a_kind_that_is_not_served_is_an_error(bench: &Bench) -> Result<()> {
    ensure!(bench.port.get(&key(bench, "", "ConfigMap", "absent")).await?.is_none());
    ensure!(bench.port.get(&key(bench, "", "Secret", "absent")).await?.is_none());
    let namespace = Key { namespace: String::new(), ..key(bench, "", "Namespace", "absent") };
    ensure!(bench.port.get(&namespace).await?.is_none());
    for (group, kind) in [("nowhere.example.com", "Thing"), ("apps", "Thing"), ("", "Thing")] {
        let error = refusal(bench.port.get(&key(bench, group, kind, "it")).await)?;
        ensure!(error.kind == Kind::MissingKind && error.retriable, "{error:?}");
    }
    let thing = json!({"apiVersion": "nowhere.example.com/v1", "kind": "Thing", "metadata": {"name": "it"}});
    let error = refusal(bench.port.apply(&bench.request(thing)).await)?;
    ensure!(error.cause().is_some_and(|cause| cause.as_str() == "MissingCRD"), "{error:?}");
    ensure!(error.message.contains("no matches for kind"), "{error:?}");
    Ok(())
}

/// Promise 4.
pub async fn whoever_is_displaced_is_named(bench: &Bench) -> Result<()> {
    let mut theirs = config_map("it", "theirs");
    theirs["data"]["b"] = json!("theirs");
    bench.edit("kubectl-edit", theirs).await?;
    let request = ApplyRequest { conflicts: Conflicts::Name, ..bench.request(config_map("it", "ours")) };
    let applied = bench.port.apply(&request).await?;
    let displaced: Vec<_> = applied.displaced.iter().map(|it| (it.manager.as_str(), &it.paths[..])).collect();
    ensure!(displaced == [("kubectl-edit", &[".data.a".to_owned()][..])], "{displaced:?}");
    let live = bench.port.get(&applied.key).await?.context("it is there")?;
    ensure!(live["data"] == json!({"a": "ours", "b": "theirs"}), "{live}");
    ensure!(bench.port.apply(&request).await?.displaced.is_empty());
    Ok(())
}

/// Drift is told by ownership alone.
pub async fn a_hand_edit_shows_in_the_fields_that_are_lost(bench: &Bench) -> Result<()> {
    let applied = bench.apply(deployment("it", "it", 0)).await?;
    let edit = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "it"},
        "spec": {"paused": true, "replicas": 0, "revisionHistoryLimit": 3}});
    bench.merge("kubectl-edit", edit).await?;
    let live = bench.port.get(&applied.key).await?.context("it is there")?;
    let gone = lost(&applied.owned, &live["metadata"]["managedFields"]);
    ensure!(gone.is_empty(), "fields that we do not own, or an equal value, are no drift: {gone:?}");

    let edit = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "it"},
        "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "registry.example/web:2"}]}}}});
    let edited = bench.edit("kubectl-edit", edit).await?;
    ensure!(edited["spec"]["replicas"] == 0, "{edited}");
    let gone = lost(&applied.owned, &edited["metadata"]["managedFields"]);
    let [gone] = &gone[..] else { bail!("one field is lost, not {gone:?}") };
    ensure!(gone.path == ".spec.template.spec.containers[name=\"main\"].image", "{gone:?}");
    ensure!(
        gone.by.as_ref().is_some_and(|by| by.manager == "kubectl-edit" && by.owns && by.at.is_some()),
        "{gone:?}"
    );

    let healed = bench.apply(deployment("it", "it", 0)).await?;
    ensure!(healed.owned == applied.owned && healed.changed, "{healed:?}");
    Ok(())
}

/// Promise 5.
pub async fn a_deletion_needs_the_right_uid(bench: &Bench) -> Result<()> {
    let applied = bench.apply(config_map("it", "a")).await?;
    let delete = async |uid| bench.port.delete(&applied.key, uid, Propagation::Background).await;
    let error = refusal(delete(Some("00000000-0000-0000-0000-000000000000")).await)?;
    ensure!(error.kind == Kind::Conflict, "{error:?}");
    ensure!(bench.port.get(&applied.key).await?.is_some());
    ensure!(delete(Some(&applied.uid)).await? == Deleted::Gone);
    ensure!(bench.port.get(&applied.key).await?.is_none());
    ensure!(delete(Some(&applied.uid)).await? == Deleted::Absent);
    ensure!(delete(None).await? == Deleted::Absent);
    Ok(())
}

/// A deletion that waits says for whom, and an apply to what waits says that it goes.
pub async fn a_deletion_names_the_finalizers_it_waits_for(bench: &Bench) -> Result<()> {
    let mut object = config_map("it", "a");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let applied = bench.apply(object.clone()).await?;
    ensure!(!applied.deleting, "nobody deleted it");
    let deleted = bench.port.delete(&applied.key, Some(&applied.uid), Propagation::Foreground).await?;
    let Deleted::Pending { finalizers } = deleted else { bail!("it waits: {deleted:?}") };
    ensure!(finalizers.iter().any(|finalizer| finalizer == "example.com/hold"), "{finalizers:?}");
    ensure!(bench.apply(object).await?.deleting, "it is applied to what goes");
    let free =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "it", "finalizers": null}});
    bench.merge("admin", free).await?;
    eventually("it is gone", async || Ok(bench.port.get(&applied.key).await?.is_none().then_some(()))).await
}

/// Promise 1 and the stages of applying.
pub async fn a_missing_namespace_is_told_from_a_missing_object(bench: &Bench) -> Result<()> {
    let error = refusal(bench.port.apply(&Bench::request_in("port-nowhere", config_map("it", "a"))).await)?;
    ensure!(error.kind == Kind::NamespaceMissing && error.retriable, "{error:?}");
    let nowhere = Key { namespace: "port-nowhere".to_owned(), ..key(bench, "", "ConfigMap", "it") };
    ensure!(bench.port.get(&nowhere).await?.is_none());
    Ok(())
}

/// What retrying cannot help is not called retriable.
pub async fn an_immutable_field_and_an_invalid_one_are_told_apart(bench: &Bench) -> Result<()> {
    bench.apply(deployment("it", "one", 0)).await?;
    let error = refusal(bench.port.apply(&bench.request(deployment("it", "two", 0))).await)?;
    ensure!(error.kind == Kind::Immutable && !error.retriable, "{error:?}");
    let error = refusal(bench.port.apply(&bench.request(deployment("other", "one", -1))).await)?;
    ensure!(error.kind == Kind::Invalid && !error.retriable, "{error:?}");
    let mut unknown = deployment("other", "one", 0);
    unknown["spec"]["replica"] = json!(1);
    let error = refusal(bench.port.apply(&bench.request(unknown)).await)?;
    ensure!(error.kind == Kind::Invalid, "{error:?}");
    let mut nameless = config_map("it", "a");
    nameless["metadata"]["name"] = json!("Not A Name");
    let error = refusal(bench.port.apply(&bench.request(nameless)).await)?;
    ensure!(error.kind == Kind::Invalid, "{error:?}");
    Ok(())
}

/// Promise 6.
pub async fn no_refusal_quotes_a_secret(bench: &Bench) -> Result<()> {
    let secret =
        |data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "it"}, "data": data});
    let error =
        refusal(bench.port.apply(&bench.request(secret(json!({"token": {"a": "hush-hush"}})))).await)?;
    ensure!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    ensure!(bench.apply(secret(json!({"token": "aGk="}))).await?.created);
    Ok(())
}

/// A definition of a kind of this case's own.
pub(super) fn definition(group: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}}],
        },
    })
}

/// Promise 7.
pub async fn a_new_definition_is_served_without_a_restart(bench: &Bench) -> Result<()> {
    let gvk = Gvk::new("port.example.com/v1", "Widget");
    ensure!(bench.port.kind_served(&gvk).await? == Serving::NotServed);
    let applied = bench.port.apply(&Bench::request_in("", definition("port.example.com"))).await?;
    let served = eventually("the kind is served", async || {
        let serving = bench.port.kind_served(&gvk).await?;
        Ok(if let Serving::Served(served) = serving { Some(served) } else { None })
    })
    .await?;
    ensure!((served.plural.as_str(), served.namespaced) == ("widgets", true), "{served:?}");
    let widget = json!({"apiVersion": "port.example.com/v1", "kind": "Widget", "metadata": {"name": "it"}, "spec": {"size": 1}});
    let request = bench.request(widget);
    let made = eventually("a widget can be applied", async || match bench.port.apply(&request).await {
        Err(error) if error.kind == Kind::MissingKind => Ok(None), // listed a moment before it is served
        result => Ok(Some(result?)),
    })
    .await?;
    ensure!(made.owned.paths().any(|path| path == ".spec.size"), "{made:?}");
    let live = bench.port.get(&made.key).await?.context("it is there")?;
    ensure!(live["spec"]["size"] == 1, "{live}");
    bench.port.delete(&applied.key, Some(&applied.uid), Propagation::Background).await?;
    eventually("the kind is gone", async || match bench.port.get(&made.key).await {
        Ok(_) => Ok(None),
        Err(error) if error.kind == Kind::MissingKind => Ok(Some(())),
        Err(error) => Err(error.into()),
    })
    .await
}
