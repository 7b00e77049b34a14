//! What goes wrong is named, soon and exactly; the clusters keep what they have; and all of it can be taken back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use taffrail_tests::harness::wait_for;
use taffrail_tests::tree::{APP, Overlay};

use taffrail_tests::harness::fleet::{BOUND, Fleet, tell};
use taffrail_tests::harness::live::{self, path, version};

/// In this time after the push an image that cannot be pulled is named.
const NAMED_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn what_goes_wrong_is_named_and_can_be_taken_back() {
    tell("failures", async |fleet| {
        fleet.first_delivery("payments-api:1.4.0").await?;
        an_image_that_cannot_be_pulled_is_named(fleet).await?;
        a_missing_definition_is_named_and_waited_for(fleet).await?;
        a_denial_is_named_where_it_happens(fleet).await?;
        broken_yaml_changes_nothing(fleet).await?;
        a_broken_kustomization_changes_nothing(fleet).await
    })
    .await;
}

/// The causes that an instance shows, by object.
fn causes(instance: &Value) -> Vec<(&str, &str)> {
    let all = instance["causes"].as_array().into_iter().flatten();
    all.map(|it| (it["cause"].as_str().unwrap_or_default(), it["object"].as_str().unwrap_or_default()))
        .collect()
}

async fn an_image_that_cannot_be_pulled_is_named(fleet: &Fleet) -> Result<()> {
    let tree = fleet.tree(fleet.member("lab"));
    let images =
        [Overlay::Staging, Overlay::Production].map(|it| tree.image(it, "payments-api:does-not-exist"));
    let pushed = Instant::now();
    let bad = fleet.push("an image that nobody has", &images).await?;
    for member in &fleet.members {
        let named = |it: &Value| causes(it).iter().any(|(cause, _)| *cause == "ImagePullBackOff");
        let instance = fleet.instance(APP, member.name, "names the image", named).await?;
        let object = format!("Deployment/{}/{APP}", member.namespace);
        ensure!(causes(&instance).contains(&("ImagePullBackOff", object.as_str())), "{instance}");
        ensure!(instance["causes"].to_string().contains("payments-api:does-not-exist"), "{instance}");
    }
    let took = pushed.elapsed();
    ensure!(took < NAMED_WITHIN, "naming it took {took:?}");
    for member in &fleet.members {
        let filter = ["--cluster", member.name, "--commit", &bad, "--kind", "InstanceChanged"];
        fleet.event(&filter, |it| it["detail"]["troubles"].to_string().contains("ImagePullBackOff")).await?;
    }
    let reverted = fleet.revert(&bad).await?;
    fleet.healthy(APP, &reverted).await?;
    for member in &fleet.members {
        let instance = fleet.instance(APP, member.name, "is well", |it| it["health"] == "Healthy").await?;
        ensure!(causes(&instance).is_empty(), "{instance}");
        let app = member.live.get(&live::deployment(&member.namespace, APP)).await?;
        let image = &app["spec"]["template"]["spec"]["containers"][0]["image"];
        ensure!(image == "payments-api:1.4.0", "{}: {image}", member.name);
    }
    Ok(())
}

fn definition() -> Value {
    let names = json!({"plural": "widgets", "singular": "widget", "kind": "Widget"});
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.failures.example.com"},
        "spec": {
            "group": "failures.example.com",
            "scope": "Namespaced",
            "names": names,
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
}

async fn a_missing_definition_is_named_and_waited_for(fleet: &Fleet) -> Result<()> {
    let widget = json!({
        "apiVersion": "failures.example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "first"},
        "spec": {"size": 3},
    });
    let beside = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "beside-it"}, "data": {"a": "b"}});
    let files = [("policies/widget.yaml", widget.to_string()), ("policies/beside.yaml", beside.to_string())];
    let commit = fleet.push("an object without its definition", &files).await?;
    for member in &fleet.members {
        let named =
            |it: &Value| it["sync"] == "Failed" && causes(it).iter().any(|(cause, _)| *cause == "MissingCRD");
        let instance = fleet.instance("policies", member.name, "names the kind", named).await?;
        ensure!(instance["causes"].to_string().contains("Widget"), "{instance}");
        member.live.until(&live::config_map(&member.namespace, "beside-it"), "is there", |_| true).await?;
        let filter = ["--cluster", member.name, "--commit", &commit, "--kind", "InstanceChanged"];
        fleet.event(&filter, |it| it["detail"]["troubles"].to_string().contains("MissingCRD")).await?;
    }
    for member in &fleet.members {
        member.live.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition()).await?;
    }
    fleet.healthy("policies", &commit).await?;
    for member in &fleet.members {
        let widget = path("apis/failures.example.com/v1", &member.namespace, "widgets", "first");
        let widget = member.live.get(&widget).await?;
        ensure!(
            widget["spec"]["size"] == 3 && widget["metadata"]["labels"]["taffrail.dev/app"] == "policies",
            "{widget}"
        );
    }
    Ok(())
}

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";

/// A policy against chatty logs in one namespace, and a wait until it is in force.
async fn deny(fleet: &Fleet, cluster: &str) -> Result<()> {
    let member = fleet.member(cluster);
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-chatty-logs"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{
                "expression": "!has(object.data) || !('LOG_LEVEL' in object.data) || object.data['LOG_LEVEL'] != 'trace'",
                "message": "nobody reads logs at level trace",
            }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-chatty-logs"},
        "spec": {
            "policyName": "no-chatty-logs",
            "validationActions": ["Deny"],
            "matchResources": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": member.namespace}},
            },
        },
    });
    member.live.create(POLICIES, &policy).await?;
    member.live.create(BINDINGS, &binding).await?;
    let list = format!("/api/v1/namespaces/{}/configmaps?dryRun=All", member.namespace);
    let probe = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}, "data": {"LOG_LEVEL": "trace"}});
    wait_for("the policy is in force", BOUND, async || {
        Ok(member.live.create(&list, &probe).await.is_err().then_some(()))
    })
    .await
}

async fn a_denial_is_named_where_it_happens(fleet: &Fleet) -> Result<()> {
    deny(fleet, "eu-1").await?;
    let file = "apps/payments-api/base/config.yaml";
    let text = std::fs::read_to_string(fleet.git.work.folder().join(file)).context("read the config")?;
    let commit = fleet.push("log everything", &[(file, text.replace("info", "trace"))]).await?;
    let denied = |it: &Value| {
        it["sync"] == "Failed" && causes(it).iter().any(|(cause, _)| *cause == "AdmissionDenied")
    };
    let instance = fleet.instance(APP, "eu-1", "names the denial", denied).await?;
    ensure!(instance["causes"].to_string().contains("nobody reads logs at level trace"), "{instance}");
    for name in ["lab", "us-1"] {
        fleet
            .instance(APP, name, "is not concerned", |it| {
                it["sync"] == "Synced" && it["runningCommit"] == commit
            })
            .await?;
    }
    let filter = ["--cluster", "eu-1", "--commit", &commit, "--kind", "InstanceChanged"];
    fleet.event(&filter, |it| it["detail"]["troubles"].to_string().contains("AdmissionDenied")).await?;
    let eu = fleet.member("eu-1");
    let kept = eu.live.get(&live::config_map(&eu.namespace, APP)).await?;
    ensure!(kept["data"]["LOG_LEVEL"] == "info", "{kept}");
    for list in [BINDINGS, POLICIES] {
        eu.live.delete(&format!("{list}/no-chatty-logs")).await?;
    }
    fleet.healthy(APP, &commit).await
}

/// Versions of the objects of both apps on one cluster.
async fn versions(fleet: &Fleet, cluster: &str) -> Result<Vec<String>> {
    let member = fleet.member(cluster);
    let paths = [
        path("api/v1", &member.namespace, "limitranges", "defaults"),
        live::config_map(&member.namespace, "beside-it"),
        live::config_map(&member.namespace, APP),
        live::service(&member.namespace, APP),
    ];
    let mut versions = Vec::new();
    for path in paths {
        versions.push(version(&member.live.get(&path).await?));
    }
    Ok(versions)
}

async fn broken_yaml_changes_nothing(fleet: &Fleet) -> Result<()> {
    let before = versions(fleet, "us-1").await?;
    let running = fleet.instance("policies", "us-1", "is synced", |it| it["sync"] == "Synced").await?;
    let limits = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fine}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: broken\n  labels: {a: b\ndata: {}\n";
    let bad = fleet.push("a brace is missing", &[("policies/more.yaml", limits)]).await?;
    let failed = fleet.event(&["--kind", "RenderFailed", "--commit", &bad], |_| true).await?;
    let detail = &failed["detail"];
    ensure!(detail["file"] == "policies/more.yaml" && detail["document"] == 2, "{failed}");
    ensure!(detail["line"].as_u64().is_some_and(|line| (9..=10).contains(&line)), "{failed}");
    ensure!(detail["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{failed}");
    let told = fleet.instance("policies", "us-1", "shows why", |it| it["sync"] == "OutOfSync").await?;
    ensure!(told["runningCommit"] == running["runningCommit"], "{told}");
    ensure!(told.to_string().contains("policies/more.yaml"), "{told}");
    ensure!(versions(fleet, "us-1").await? == before, "a tree that cannot be rendered was written somewhere");
    let us = fleet.member("us-1");
    ensure!(
        us.live.find(&live::config_map(&us.namespace, "fine")).await?.is_none(),
        "half of a broken file was applied"
    );

    let reverted = fleet.revert(&bad).await?;
    fleet.event(&["--kind", "CommitSeen", "--commit", &reverted], |_| true).await?;
    for member in &fleet.members {
        fleet
            .instance("policies", member.name, "is well again", |it| {
                it["sync"] == "Synced" && it["health"] == "Healthy"
            })
            .await?;
    }
    ensure!(versions(fleet, "us-1").await? == before, "the revert of what was never applied wrote objects");
    Ok(())
}

async fn a_broken_kustomization_changes_nothing(fleet: &Fleet) -> Result<()> {
    let before = versions(fleet, "lab").await?;
    let file = "apps/payments-api/base/kustomization.yaml";
    let text =
        std::fs::read_to_string(fleet.git.work.folder().join(file)).context("read the kustomization")?;
    let bad =
        fleet.push("a file is missing", &[(file, text.replace("service.yaml", "no-such.yaml"))]).await?;
    let failed = fleet.event(&["--kind", "RenderFailed", "--commit", &bad], |_| true).await?;
    ensure!(failed["detail"].to_string().contains("no-such.yaml"), "{failed}");
    fleet
        .instance(APP, "lab", "shows why", |it| it["sync"] == "OutOfSync" && it["health"] == "Healthy")
        .await?;
    ensure!(versions(fleet, "lab").await? == before, "a tree that cannot be rendered was written somewhere");
    fleet.revert(&bad).await?;
    for member in &fleet.members {
        fleet
            .instance(APP, member.name, "is well again", |it| {
                it["sync"] == "Synced" && it["health"] == "Healthy"
            })
            .await?;
    }
    Ok(())
}
