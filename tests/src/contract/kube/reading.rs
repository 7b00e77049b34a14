//! Lists, pages, watches, bookmarks, metadata alone, discovery.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use kube::{ResourceExt, discovery};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::target::{LIMIT, Target, absent, make_config_maps, until, version};

const SUITE: &str = "suite=contract";

/// A limit gives pages; together they are the list as it was when it began.
pub async fn lists_come_in_pages(target: &Target) -> Result<()> {
    make_config_maps(target, &["a", "b", "c", "d", "e"]).await?;
    let api = target.config_maps();
    let mut params = ListParams::default().labels(SUITE).limit(2);
    let first = api.list(&params).await?;
    ensure!(first.items.len() == 2);
    let begun = first.metadata.resource_version.clone();
    make_config_maps(target, &["f"]).await?;
    let mut names: Vec<String> = first.items.iter().map(ResourceExt::name_any).collect();
    let mut token = first.metadata.continue_;
    while let Some(next) = token.filter(|token| !token.is_empty()) {
        params.continue_token = Some(next);
        let page = api.list(&params).await?;
        ensure!(page.metadata.resource_version == begun, "a page shows another state");
        names.extend(page.items.iter().map(ResourceExt::name_any));
        token = page.metadata.continue_;
    }
    ensure!(names == ["a", "b", "c", "d", "e"], "names: {names:?}");
    ensure!(api.list(&ListParams::default().labels(SUITE)).await?.items.len() == 6);
    Ok(())
}

/// A page of a state that is forgotten is refused, so that the list begins anew.
pub async fn old_pages_expire(target: &Target) -> Result<()> {
    make_config_maps(target, &["a", "b", "c"]).await?;
    let api = target.config_maps();
    let mut params = ListParams::default().labels(SUITE).limit(1);
    params.continue_token = api.list(&params).await?.metadata.continue_;
    ensure!(params.continue_token.is_some(), "there is more");
    let status = until("the old page is refused", || async {
        // History is forgotten up to the present, so something must have happened since.
        let touch = json!({"data": {"touched": format!("{:?}", std::time::Instant::now())}});
        api.patch("a", &PatchParams::default(), &Patch::Merge(&touch)).await?;
        (target.compact)().await?;
        match api.list(&params).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) => Ok(Some(status)),
            Err(other) => Err(other.into()),
        }
    })
    .await?;
    ensure!(status.code == 410 && status.reason == "Expired", "status: {status:?}");
    Ok(())
}

/// Labels and names choose.
pub async fn selectors_choose_objects(target: &Target) -> Result<()> {
    make_config_maps(target, &["a", "b", "c"]).await?;
    let api = target.config_maps();
    for (name, tier) in [("a", "front"), ("b", "back")] {
        let label = json!({"metadata": {"labels": {"tier": tier}}});
        api.patch(name, &PatchParams::default(), &Patch::Merge(&label)).await?;
    }
    for (labels, fields, expected) in [
        ("suite=contract", "", vec!["a", "b", "c"]),
        ("tier=front", "", vec!["a"]),
        ("tier", "", vec!["a", "b"]),
        ("!tier,suite=contract", "", vec!["c"]),
        ("tier in (front,back)", "", vec!["a", "b"]),
        ("suite=contract,tier notin (front)", "", vec!["b", "c"]),
        ("suite=contract,tier!=back", "", vec!["a", "c"]),
        ("suite=contract", "metadata.name=b", vec!["b"]),
        ("suite=contract", "metadata.name!=b", vec!["a", "c"]),
    ] {
        let params = ListParams::default().labels(labels).fields(fields);
        let names: Vec<String> = api.list(&params).await?.items.iter().map(ResourceExt::name_any).collect();
        ensure!(names == expected, "{labels} {fields}: {names:?}");
    }
    Ok(())
}

/// The next event, with a bound.
async fn next<K, S>(events: &mut S) -> Result<WatchEvent<K>>
where
    S: Stream<Item = kube::Result<WatchEvent<K>>> + Unpin,
{
    let event = timeout(LIMIT, events.next()).await.context("no event came")?;
    Ok(event.context("the watch ended")??)
}

/// Additions, changes and deletions come in their order, each with a higher version, from the version asked for on.
pub async fn a_watch_sees_changes_in_order(target: &Target) -> Result<()> {
    let api = target.config_maps();
    make_config_maps(target, &["before"]).await?;
    let from =
        api.list(&ListParams::default()).await?.metadata.resource_version.context("lists have a version")?;
    make_config_maps(target, &["a"]).await?;
    let mut events = pin!(api.watch(&WatchParams::default().labels(SUITE), &from).await?);
    let edit = json!({"data": {"key": "new"}});
    api.patch("a", &PatchParams::default(), &Patch::Merge(&edit)).await?;
    api.delete("a", &DeleteParams::default()).await?;
    let mut last: u64 = from.parse()?;
    for expected in ["ADDED", "MODIFIED", "DELETED"] {
        let event = next(&mut events).await?;
        let (kind, object) = match event {
            WatchEvent::Added(object) => ("ADDED", object),
            WatchEvent::Modified(object) => ("MODIFIED", object),
            WatchEvent::Deleted(object) => ("DELETED", object),
            other => bail!("expected {expected}, got {other:?}"),
        };
        ensure!(
            kind == expected && object.name_any() == "a",
            "expected {expected} of a, got {kind} of {}",
            object.name_any()
        );
        let now: u64 = object.resource_version().context("objects have a version")?.parse()?;
        ensure!(last < now, "{now} is not after {last}");
        last = now;
    }
    Ok(())
}

/// An object that leaves the selection is gone for the watch; one that enters it is new.
pub async fn a_watch_follows_its_selector(target: &Target) -> Result<()> {
    let api = target.config_maps();
    make_config_maps(target, &["a"]).await?;
    let from =
        api.list(&ListParams::default()).await?.metadata.resource_version.context("lists have a version")?;
    let mut events = pin!(api.watch(&WatchParams::default().labels("tier=front"), &from).await?);
    for tier in [json!("front"), json!("back"), json!("front")] {
        let label = json!({"metadata": {"labels": {"tier": tier}}});
        api.patch("a", &PatchParams::default(), &Patch::Merge(&label)).await?;
    }
    ensure!(matches!(next(&mut events).await?, WatchEvent::Added(_)));
    ensure!(matches!(next(&mut events).await?, WatchEvent::Deleted(_)));
    ensure!(matches!(next(&mut events).await?, WatchEvent::Added(_)));
    Ok(())
}

/// A watch that asks for bookmarks learns the version it stands at, also when nothing happens; its time is limited.
pub async fn a_watch_sends_bookmarks(target: &Target) -> Result<()> {
    let api = target.config_maps();
    make_config_maps(target, &["a"]).await?;
    let from =
        api.list(&ListParams::default()).await?.metadata.resource_version.context("lists have a version")?;
    let params = WatchParams::default().labels("suite=nothing").timeout(5);
    let mut events = pin!(api.watch(&params, &from).await?);
    // Something happens that the watch does not show, and the bookmark is at or after it.
    let edit = json!({"data": {"key": "new"}});
    let edited = api.patch("a", &PatchParams::default(), &Patch::Merge(&edit)).await?;
    let edited: u64 = edited.resource_version().context("objects have a version")?.parse()?;
    let mut seen = 0;
    while let Some(event) = timeout(LIMIT, events.next()).await.context("the watch does not end")? {
        match event? {
            WatchEvent::Bookmark(bookmark) => seen = bookmark.metadata.resource_version.parse::<u64>()?,
            other => bail!("unexpected {other:?}"),
        }
    }
    ensure!(edited <= seen, "the last bookmark stands at {seen}, before {edited}");
    Ok(())
}

/// A streaming list sends what is there, then says that this was all.
pub async fn a_streaming_list_says_where_it_ends(target: &Target) -> Result<()> {
    make_config_maps(target, &["a", "b"]).await?;
    let api = target.config_maps();
    let params = WatchParams::default().labels(SUITE).initial_events();
    let mut events = pin!(api.watch(&params, "0").await?);
    let mut names = Vec::new();
    loop {
        match next(&mut events).await? {
            WatchEvent::Added(object) => names.push(object.name_any()),
            WatchEvent::Bookmark(bookmark) => {
                let mark = bookmark.metadata.annotations.get("k8s.io/initial-events-end");
                if mark.is_some_and(|mark| mark == "true") {
                    break;
                }
            }
            other => bail!("unexpected {other:?}"),
        }
    }
    names.sort();
    ensure!(names == ["a", "b"], "names: {names:?}");
    make_config_maps(target, &["c"]).await?;
    ensure!(matches!(next(&mut events).await?, WatchEvent::Added(object) if object.name_any() == "c"));
    Ok(())
}

/// A watch from before what is remembered gets one error event with 410, then ends.
pub async fn a_watch_from_a_forgotten_version_expires(target: &Target) -> Result<()> {
    // The history of a new kind begins when it is made, so that version 1 is always before it.
    super::workloads::define(target, "forgetful").await?;
    let things = super::workloads::things(target, "forgetful");
    let status = until("the watch is refused", || async {
        let mut events = pin!(things.watch(&WatchParams::default().timeout(5), "1").await?);
        match timeout(Duration::from_secs(10), events.next()).await {
            Ok(Some(Ok(WatchEvent::Error(status)) | Err(kube::Error::Api(status)))) => Ok(Some(status)),
            _ => Ok(None),
        }
    })
    .await?;
    ensure!(status.code == 410 && status.reason == "Expired", "status: {status:?}");
    ensure!(status.message.starts_with("too old resource version: 1 ("), "message: {}", status.message);
    super::workloads::undefine(target, "forgetful").await
}

/// Objects can be had without spec, data and status; `managedFields` are part of what remains.
pub async fn metadata_alone_can_be_listed_and_watched(target: &Target) -> Result<()> {
    make_config_maps(target, &["a"]).await?;
    let api = target.config_maps();
    let one = api.get_metadata("a").await?;
    ensure!(
        one.types.as_ref().is_some_and(|types| types.kind == "PartialObjectMetadata"),
        "types: {:?}",
        one.types
    );
    ensure!(one.metadata.managed_fields.is_some(), "who owns what is part of the metadata");
    let list = api.list_metadata(&ListParams::default().labels(SUITE)).await?;
    ensure!(
        list.types.kind == "PartialObjectMetadataList" && list.items.len() == 1,
        "types: {:?}",
        list.types
    );
    let from = list.metadata.resource_version.context("lists have a version")?;
    let request = http::Request::get(target.path("/api/v1", "configmaps"))
        .header("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
        .body(Vec::new())?;
    let raw: Value = target.client.request(request).await?;
    ensure!(raw["items"].as_array().is_some_and(|items| items.iter().all(|item| item.get("data").is_none())));
    let mut events = pin!(api.watch_metadata(&WatchParams::default().labels(SUITE), &from).await?);
    let edit = json!({"metadata": {"annotations": {"note": "1"}}});
    api.patch("a", &PatchParams::default(), &Patch::Merge(&edit)).await?;
    let WatchEvent::Modified(changed) = next::<PartialObjectMeta<ConfigMap>, _>(&mut events).await? else {
        bail!("expected a change");
    };
    ensure!(changed.annotations().get("note").map(String::as_str) == Some("1"));
    api.delete("a", &DeleteParams::default()).await?;
    ensure!(matches!(next(&mut events).await?, WatchEvent::Deleted(_)));
    Ok(())
}

/// Both ways of discovery name groups, versions, kinds, scopes and verbs.
pub async fn discovery_names_the_kinds(target: &Target) -> Result<()> {
    let pick = |found: &discovery::Discovery, kind: &str, group: &str| {
        let group = found.get(group)?;
        let (resource, capabilities) = group.recommended_kind(kind)?;
        Some((resource.plural, capabilities.scope == discovery::Scope::Namespaced, resource.api_version))
    };
    let each = discovery::Discovery::new(target.client.clone()).run().await?;
    let at_once = discovery::Discovery::new(target.client.clone()).run_aggregated().await?;
    for (group, kind, expected) in [
        ("", "ConfigMap", ("configmaps", true, "v1")),
        ("", "Namespace", ("namespaces", false, "v1")),
        ("apps", "Deployment", ("deployments", true, "apps/v1")),
        ("networking.k8s.io", "Ingress", ("ingresses", true, "networking.k8s.io/v1")),
        ("rbac.authorization.k8s.io", "ClusterRole", ("clusterroles", false, "rbac.authorization.k8s.io/v1")),
        (
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            ("customresourcedefinitions", false, "apiextensions.k8s.io/v1"),
        ),
        ("autoscaling", "HorizontalPodAutoscaler", ("horizontalpodautoscalers", true, "autoscaling/v2")),
    ] {
        for (way, found) in [("each", &each), ("at once", &at_once)] {
            let found =
                pick(found, kind, group).with_context(|| format!("{kind} is missing, asked {way}"))?;
            ensure!(
                (found.0.as_str(), found.1, found.2.as_str()) == expected,
                "{kind}, asked {way}: {found:?}"
            );
        }
    }
    let version = target.client.apiserver_version().await?;
    ensure!(version.major == "1" && version.git_version.starts_with("v1."), "version: {version:?}");
    let missing = target.client.list_api_group_resources("no.such.group/v1").await;
    absent(missing)?;
    let list = target.get(&target.path("/api/v1", "configmaps")).await?;
    ensure!(list["kind"] == json!("ConfigMapList") && !version_is_empty(&list));
    Ok(())
}

fn version_is_empty(list: &Value) -> bool {
    version(list).is_empty()
}
