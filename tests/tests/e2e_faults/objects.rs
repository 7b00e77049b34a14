//! The Kubernetes side: an API server that answers wrongly or not at all, a webhook that hangs, a definition and a
//! namespace that go.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use taffrail_tests::harness::api::{Fault, Rule, Which};
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
        a_webhook_that_hangs_is_named(fleet, &load).await.context("webhook")?;
        a_namespace_that_does_not_end_is_named(fleet, &load).await.context("namespace")
    })
    .await;
}

const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

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
