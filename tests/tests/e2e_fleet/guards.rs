//! What leaves Git is deleted: late, seldom, and some of it only when a person says so.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use taffrail_tests::harness::wait_for;

use taffrail_tests::harness::apps::{App, config_map, deployment, everywhere, paths, roots};
use taffrail_tests::harness::fleet::{BOUND, Fleet, tell};
use taffrail_tests::harness::live::{self, path};

#[tokio::test]
async fn objects_that_leave_git_are_deleted_only_as_far_as_the_guards_allow() {
    tell("guards", async |fleet| {
        let held = App { annotations: json!({"taffrail.dev/max-deletes": "10"}), ..App::automated("held") };
        let mut files = roots(fleet, &[App::automated("shop"), App::automated("wide"), held]);
        files.extend(shop(fleet));
        files.extend((0..10).flat_map(|n| everywhere(fleet, "wide", &config_map(&format!("wide-{n}"), "1"))));
        files.extend(protected().iter().flat_map(|object| everywhere(fleet, "held", object)));
        files.extend(everywhere(fleet, "held", &config_map("common", "1")));
        // Keeps the directories when all manifests are gone.
        files.extend(
            fleet.members.iter().map(|it| (format!("apps/wide/{}/README.md", it.name), "wide".to_owned())),
        );
        let commit = fleet.git.commit("three apps", &files)?;
        fleet.hub.done(&["source", "add", &fleet.git.url()]).await?;
        fleet.healthy("shop", &commit).await?;
        fleet.healthy("wide", &commit).await?;
        fleet.synced("held", &commit).await?;

        pruning_waits_for_health(fleet).await?;
        a_shrunken_app_waits_for_approval(fleet).await?;
        an_emptied_app_is_parked_until_git_has_it_again(fleet).await?;
        protected_kinds_wait_for_approval(fleet).await
    })
    .await;
}

fn shop(fleet: &Fleet) -> Vec<(String, String)> {
    let mut kept = config_map("kept", "1");
    kept["metadata"]["annotations"] = json!({"argocd.argoproj.io/sync-options": "Prune=false"});
    let objects = [deployment("shop", "shop:1"), config_map("plain", "1"), config_map("old", "1"), kept];
    objects.iter().flat_map(|object| everywhere(fleet, "shop", object)).collect()
}

async fn pruning_waits_for_health(fleet: &Fleet) -> Result<()> {
    for file in ["configmap-old", "configmap-kept"] {
        let gone = paths(fleet, "shop", file);
        let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
        fleet.git.work.git(&[&["rm", "--quiet"], gone.as_slice()].concat())?;
    }
    let unready = everywhere(fleet, "shop", &deployment("shop", "shop:never-ready"));
    fleet.push("the new shop does not become ready", &unready).await?;
    for member in &fleet.members {
        fleet
            .instance("shop", member.name, "waits for health", |it| {
                it["sync"] == "Syncing" && it["health"] == "Progressing"
            })
            .await?;
        let shop = live::deployment(&member.namespace, "shop");
        member.live.until(&shop, "is the new one", |it| it["status"]["updatedReplicas"] == 1).await?;
        let old = member.live.find(&live::config_map(&member.namespace, "old")).await?;
        ensure!(old.is_some(), "{}: an object was deleted before the new state was healthy", member.name);
    }
    let commit = fleet
        .push("the new shop becomes ready", &everywhere(fleet, "shop", &deployment("shop", "shop:2")))
        .await?;
    for member in &fleet.members {
        member.live.until_gone(&live::config_map(&member.namespace, "old")).await?;
        let pruned = fleet
            .event(&["--kind", "Pruned", "--cluster", member.name], |it| it["app"] == app("guards", "shop"))
            .await?;
        ensure!(names(&pruned["detail"]["objects"]) == ["old"], "{pruned}");
        ensure!(pruned["commit"] == commit, "{pruned}");
        let kept =
            fleet.instance("shop", member.name, "keeps an object", |it| it["sync"] == "OutOfSync").await?;
        ensure!(kept["health"] == "Healthy" && kept.to_string().contains("kept"), "{kept}");
        member.live.get(&live::config_map(&member.namespace, "kept")).await?;
        member.live.get(&live::config_map(&member.namespace, "plain")).await?;
    }
    Ok(())
}

fn app(source: &str, name: &str) -> String {
    format!("{source}/{name}")
}

fn names(objects: &Value) -> Vec<&str> {
    objects.as_array().into_iter().flatten().filter_map(|object| object["name"].as_str()).collect()
}

/// Numbers of the objects of `wide` that a cluster has.
async fn wide(fleet: &Fleet, cluster: &str) -> Result<Vec<u32>> {
    let member = fleet.member(cluster);
    let mut there = Vec::new();
    for number in 0..10 {
        let path = live::config_map(&member.namespace, &format!("wide-{number}"));
        there.extend(member.live.find(&path).await?.map(|_| number));
    }
    Ok(there)
}

async fn a_shrunken_app_waits_for_approval(fleet: &Fleet) -> Result<()> {
    let gone: Vec<String> =
        (0..3).flat_map(|n| paths(fleet, "wide", &format!("configmap-wide-{n}"))).collect();
    let commit = fleet.push_without("three of ten go", &gone).await?;
    for member in &fleet.members {
        let parked = fleet.instance("wide", member.name, "is parked", |it| it["sync"] == "Parked").await?;
        ensure!(parked["parkedReason"].as_str().is_some_and(|why| why.contains("3 of 10")), "{parked}");
        ensure!(parked["approvals"][0]["what"] == "shrink", "{parked}");
        ensure!(wide(fleet, member.name).await?.len() == 10, "{}: deleted without approval", member.name);
    }
    let waited = fleet.hub.cli(&["wait", "wide", "--for=synced", "--timeout", "30s"]).await?;
    ensure!(waited.code == 1 && waited.stderr.contains("taffrail approve"), "{waited:?}");
    let order = ["approve", "wide", "--cluster", "lab", "--reason", "they are not used", "--bundle"];
    let refused = fleet.hub.cli(&[&order[..], &["000000000000"]].concat()).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("another bundle"), "{refused:?}");
    let parked = fleet.instance("wide", "lab", "is still parked", |it| it["sync"] == "Parked").await?;
    let bundle = parked["approvals"][0]["bundle"].as_str().and_then(|bundle| bundle.get(..12));
    let bundle = bundle.context("the bundle that waits is named")?;
    fleet.hub.done(&[&order[..], &[bundle]].concat()).await?;
    let lab = |it: &Value| it["sync"] == "Synced" && it["runningCommit"] == commit;
    fleet.instance("wide", "lab", "is synced after the approval", lab).await?;
    let left = wait_for("three of ten are gone", BOUND, async || {
        let left = wide(fleet, "lab").await?;
        Ok((left.len() == 7).then_some(left))
    });
    ensure!(left.await? == [3, 4, 5, 6, 7, 8, 9], "others are gone than those that left Git");
    for name in ["eu-1", "us-1"] {
        let other = fleet.instance("wide", name, "is still parked", |it| it["sync"] == "Parked").await?;
        ensure!(wide(fleet, name).await?.len() == 10, "an approval for lab worked on {other}");
        fleet.hub.done(&["approve", "wide", "--cluster", name]).await?;
    }
    fleet.synced("wide", &commit).await?;
    let approved = fleet.event(&["--kind", "Approved", "--cluster", "lab"], |_| true).await?;
    ensure!(approved["reason"] == "they are not used", "{approved}");
    ensure!(approved["actor"].as_str().is_some_and(|who| who.starts_with("person:")), "{approved}");
    Ok(())
}

async fn an_emptied_app_is_parked_until_git_has_it_again(fleet: &Fleet) -> Result<()> {
    let gone: Vec<String> =
        (3..10).flat_map(|n| paths(fleet, "wide", &format!("configmap-wide-{n}"))).collect();
    let emptied = fleet.push_without("all go", &gone).await?;
    for member in &fleet.members {
        let parked = fleet.instance("wide", member.name, "is parked", |it| it["sync"] == "Parked").await?;
        ensure!(parked["parkedReason"].as_str().is_some_and(|why| why.contains("empty")), "{parked}");
    }
    let commit = fleet.revert(&emptied).await?;
    fleet.healthy("wide", &commit).await?;
    for member in &fleet.members {
        ensure!(wide(fleet, member.name).await?.len() == 7, "{}: objects are missing", member.name);
    }
    Ok(())
}

/// Kinds whose deletion takes data or other objects along.
fn protected() -> [Value; 3] {
    let names = json!({"plural": "gadgets", "singular": "gadget", "kind": "Gadget"});
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "guards-extra"}}),
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }),
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "gadgets.guards.example.com"},
            "spec": {
                "group": "guards.example.com",
                "scope": "Namespaced",
                "names": names,
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
            },
        }),
    ]
}

async fn protected_kinds_wait_for_approval(fleet: &Fleet) -> Result<()> {
    let files = [
        "namespace-guards-extra",
        "persistentvolumeclaim-data",
        "customresourcedefinition-gadgets.guards.example.com",
    ];
    let gone: Vec<String> = files.iter().flat_map(|file| paths(fleet, "held", file)).collect();
    let commit = fleet.push_without("what holds data goes", &gone).await?;
    for member in &fleet.members {
        let held =
            fleet.instance("held", member.name, "waits for approval", |it| it["sync"] == "Parked").await?;
        let waits = &held["approvals"][0];
        ensure!(
            waits["what"] == "prune" && waits["objects"].as_array().is_some_and(|all| all.len() == 3),
            "{held}"
        );
        for path in protected_paths(&member.namespace) {
            let there = member.live.get(&path).await?;
            ensure!(there["metadata"]["deletionTimestamp"].is_null(), "deleted without approval: {there}");
        }
    }
    fleet.hub.done(&["approve", "held", "--cluster", "eu-1", "--what", "prune"]).await?;
    let eu = fleet.member("eu-1");
    for path in protected_paths(&eu.namespace) {
        eu.live.until_gone(&path).await?;
    }
    fleet
        .instance("held", "eu-1", "is synced", |it| it["sync"] == "Synced" && it["runningCommit"] == commit)
        .await?;
    let lab = fleet.member("lab");
    for path in protected_paths(&lab.namespace) {
        let there = lab.live.get(&path).await?;
        ensure!(there["metadata"]["deletionTimestamp"].is_null(), "approved for another cluster: {there}");
    }
    Ok(())
}

fn protected_paths(namespace: &str) -> [String; 3] {
    [
        path("api/v1", "", "namespaces", "guards-extra"),
        path("api/v1", namespace, "persistentvolumeclaims", "data"),
        path("apis/apiextensions.k8s.io/v1", "", "customresourcedefinitions", "gadgets.guards.example.com"),
    ]
}
