//! The Kubernetes side: an API server that answers wrongly or not at all, a webhook that hangs, a definition and a
//! namespace that go.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use taffrail_tests::harness::api::{Fault, Rule, Which};
use taffrail_tests::harness::apps::{App, config_map, everywhere, roots};
use taffrail_tests::harness::fleet::{BOUND, Fleet, Settings, tell_with};
use taffrail_tests::harness::live::{self, path};
use taffrail_tests::harness::load::{Load, NAME, object};
use taffrail_tests::harness::observer::Observer;
use taffrail_tests::harness::{Random, wait_for};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::{AGENTS, HUB, LEASE, times};

/// The client library's own word on each answer that is an error.
const MEANT: &[&str] = &["kube_client::client::builder"];
/// How long an API server goes on answering wrongly.
const LASTS: Duration = Duration::from_secs(times(3, 20));

/// What it answers.
const RULES: [Rule; 6] = [
    Rule { which: Which::Writes, percent: 50, fault: Fault::Status(409, None) },
    Rule { which: Which::Watches, percent: 100, fault: Fault::Status(410, None) },
    Rule { which: Which::All, percent: 50, fault: Fault::Status(429, Some(1)) },
    Rule { which: Which::All, percent: 50, fault: Fault::Status(500, None) },
    Rule { which: Which::All, percent: 100, fault: Fault::Status(500, None) },
    Rule { which: Which::All, percent: 100, fault: Fault::Silence },
];

#[tokio::test]
async fn whatever_the_api_server_answers_each_cluster_arrives_in_the_end() {
    let seed = Random::seed("api");
    let settings =
        Settings { hub: HUB, agents: AGENTS, api: Some(seed), meant: MEANT, ..Settings::default() };
    tell_with("api", settings, async |fleet| {
        let mut load = Load::start(fleet, 8).await?;
        let observer = Observer::start(fleet, &load, LEASE);
        load.run(fleet, seed);
        for (round, rule) in (0..times(1, 3)).flat_map(|round| RULES.map(|rule| (round, rule))) {
            let api = fleet.member("lab").api.as_ref().context("a proxy")?;
            let before = api.hits();
            api.set(Some(rule));
            wait_for("a request is answered so", BOUND, async || Ok((api.hits() > before).then_some(())))
                .await
                .with_context(|| format!("round {round}: {rule:?}"))?;
            sleep(LASTS).await;
            api.set(None);
        }
        load.end(fleet).await?;
        observer.judge().await
    })
    .await;
}

#[tokio::test]
async fn what_hangs_or_goes_in_a_cluster_is_named_and_mends_itself_afterwards() {
    let settings = Settings { hub: HUB, agents: AGENTS, meant: MEANT, ..Settings::default() };
    tell_with("objects", settings, async |fleet| {
        let load = Load::start(fleet, 4).await?;
        let commit = kinds(fleet).await.context("an app of many kinds")?;
        a_definition_that_goes_is_named_and_its_objects_come_back(fleet, &commit)
            .await
            .context("definition")?;
        an_immutable_field_is_named(fleet).await.context("immutable")?;
        a_webhook_that_hangs_is_named(fleet, &load).await.context("webhook")?;
        a_namespace_that_does_not_end_is_named(fleet, &load).await.context("namespace")
    })
    .await;
}

const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// The app beside the load.
const KINDS: &str = "kinds";

fn definition() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gauges.faults.example.com"},
        "spec": {
            "group": "faults.example.com",
            "scope": "Namespaced",
            "names": {"plural": "gauges", "singular": "gauge", "kind": "Gauge"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
}

/// An immutable `ConfigMap`.
fn fixed(value: &str) -> Value {
    let mut fixed = config_map("fixed", value);
    fixed["immutable"] = json!(true);
    fixed
}

/// One more app: an object of a kind that somebody else defines, one that is immutable, and one of the usual kind.
async fn kinds(fleet: &Fleet) -> Result<String> {
    for member in &fleet.members {
        member.live.create(DEFINITIONS, &definition()).await?;
    }
    let gauge = json!({
        "apiVersion": "faults.example.com/v1", "kind": "Gauge", "metadata": {"name": "first"},
        "spec": {"size": 3},
    });
    let mut files = roots(fleet, &[App::automated(NAME), App::automated(KINDS)]);
    for object in [gauge, fixed("1"), config_map("beside", "1")] {
        files.extend(everywhere(fleet, KINDS, &object));
    }
    let commit = fleet.push("many kinds", &files).await?;
    fleet.healthy(KINDS, &commit).await?;
    Ok(commit)
}

async fn a_definition_that_goes_is_named_and_its_objects_come_back(
    fleet: &Fleet,
    commit: &str,
) -> Result<()> {
    let eu = fleet.member("eu-1");
    eu.live.delete(&format!("{DEFINITIONS}/gauges.faults.example.com")).await?;
    let named = |it: &Value| it["sync"] == "Failed" && says(it, "MissingCRD");
    fleet.instance(KINDS, eu.name, "names the kind that is missing", named).await?;
    for other in ["lab", "us-1"] {
        let well = |it: &Value| it["sync"] == "Synced" && it["health"] == "Healthy";
        fleet.instance(KINDS, other, "is not concerned", well).await?;
    }
    eu.live.create(DEFINITIONS, &definition()).await?;
    fleet.healthy(KINDS, commit).await?;
    let gauge = eu.live.get(&path("apis/faults.example.com/v1", &eu.namespace, "gauges", "first")).await?;
    ensure!(gauge["spec"]["size"] == 3, "{gauge}");
    let healed = ["--kind", "DriftHealed", "--cluster", eu.name];
    fleet.event(&healed, |it| it["detail"]["object"].to_string().contains("Gauge")).await?;
    let pruned = fleet.hub.events(&["--kind", "Pruned"]).await?;
    ensure!(pruned.is_empty(), "a kind that is not served is no reason to delete: {pruned:?}");
    Ok(())
}

async fn an_immutable_field_is_named(fleet: &Fleet) -> Result<()> {
    fleet.push("what must not change", &everywhere(fleet, KINDS, &fixed("2"))).await?;
    for member in &fleet.members {
        let named = |it: &Value| it["sync"] == "Failed" && says(it, "immutable");
        fleet.instance(KINDS, member.name, "names the field", named).await?;
        let path = live::config_map(&member.namespace, "fixed");
        let still = member.live.get(&path).await?;
        ensure!(still["data"]["value"] == "1", "it was made anew: {still}");
    }
    let mended = fleet.push("as it was", &everywhere(fleet, KINDS, &fixed("1"))).await?;
    fleet.healthy(KINDS, &mended).await
}

/// Whether some trouble of an instance says this.
fn says(instance: &Value, text: &str) -> bool {
    instance["causes"].to_string().contains(text)
}

async fn a_webhook_that_hangs_is_named(fleet: &Fleet, load: &Load) -> Result<()> {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let eu = fleet.member("eu-1");
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": format!("hangs-{}", fleet.name)},
        "webhooks": [{
            "name": "hangs.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "timeoutSeconds": 1,
            "failurePolicy": "Fail",
            "clientConfig": {"url": format!("https://{}/", silent.local_addr()?)},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": eu.namespace}},
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                "operations": ["CREATE", "UPDATE"],
            }],
        }],
    });
    eu.live.create(WEBHOOKS, &webhook).await?;
    let list = format!("/api/v1/namespaces/{}/configmaps?dryRun=All", eu.namespace);
    let probe = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}});
    wait_for("the webhook is in force", BOUND, async || {
        Ok(eu.live.create(&list, &probe).await.is_err().then_some(()))
    })
    .await?;
    let commit = load.commit(fleet, "past a webhook").await?;
    let named = |it: &Value| it["sync"] != "Synced" && says(it, "hangs.example.com");
    fleet.instance(NAME, eu.name, "names the webhook", named).await?;
    for other in ["lab", "us-1"] {
        let there = |it: &Value| it["sync"] == "Synced" && it["runningCommit"] == commit.id.as_str();
        fleet.instance(NAME, other, "is not concerned", there).await?;
    }
    eu.live.delete(&format!("{WEBHOOKS}/hangs-{}", fleet.name)).await?;
    load.arrived(fleet).await
}

async fn a_namespace_that_does_not_end_is_named(fleet: &Fleet, load: &Load) -> Result<()> {
    let lab = fleet.member("lab");
    let held = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "finalizers": ["example.com/hold"]},
    });
    lab.live.create(&format!("/api/v1/namespaces/{}/configmaps", lab.namespace), &held).await?;
    let namespace = path("api/v1", "", "namespaces", &lab.namespace);
    lab.live.delete(&namespace).await?;
    lab.live.until_gone(&live::config_map(&lab.namespace, &object(0))).await?;
    let commit = load.commit(fleet, "into the end").await?;
    let named = |it: &Value| it["health"] != "Healthy" && it["sync"] != "Synced" && says(it, "terminat");
    fleet.instance(NAME, lab.name, "names the namespace", named).await?;
    for other in ["eu-1", "us-1"] {
        let there = |it: &Value| it["sync"] == "Synced" && it["runningCommit"] == commit.id.as_str();
        fleet.instance(NAME, other, "is not concerned", there).await?;
    }
    let still = lab.live.get(&live::config_map(&lab.namespace, "held")).await?;
    ensure!(still["metadata"]["finalizers"] == json!(["example.com/hold"]), "a finalizer was taken: {still}");
    let free = json!({"metadata": {"finalizers": null}});
    lab.live.edit(&live::config_map(&lab.namespace, "held"), "whoever-holds-it", &free).await?;
    load.arrived(fleet).await
}
