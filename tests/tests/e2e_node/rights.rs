//! What a service account may do, by the server's own word and with its own token.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use http::Request;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::ground::{Ground, HOME};

/// What everybody may do who has logged in: ask about himself.
const EVERYBODY: [&str; 2] = [
    "authentication.k8s.io selfsubjectreviews: create",
    "authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews: create",
];

/// The agent's rights, all of them.
const AGENT: [&str; 7] = [
    " events: create,patch",
    " namespaces [kube-system]: get",
    " secrets: create,delete,get,list,update",
    " serviceaccounts [taffrail-applier]: impersonate",
    "coordination.k8s.io leases [taffrail-agent]: get,patch,update",
    "coordination.k8s.io leases: create",
    "events.k8s.io events: create,patch",
];

/// Its rights outside its own namespace.
const AGENT_ELSEWHERE: [&str; 1] = [" namespaces [kube-system]: get"];

/// What an account may do in a namespace, as `GROUP RESOURCES [NAMES]: VERBS`.
async fn rules(ground: &Ground, account: &str, namespace: &str) -> Result<BTreeSet<String>> {
    let client = ground.client.clone();
    let token: Value = post(
        &client,
        &format!("/api/v1/namespaces/{HOME}/serviceaccounts/{account}/token"),
        &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}),
    )
    .await?;
    let token = token["status"]["token"].as_str().context("the server gives a token")?;
    let kubeconfig = Kubeconfig::read_from(ground.node.cluster().kubeconfig_path())?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.auth_info = AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() };
    let own = Client::try_from(config)?;
    let review = post(
        &own,
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        &json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}),
    )
    .await?;
    ensure!(review["status"]["incomplete"] == false, "the list is not complete: {review}");
    let addresses = review["status"]["nonResourceRules"].as_array().context("rules of addresses")?;
    let resources = review["status"]["resourceRules"].as_array().context("rules of resources")?;
    // Everybody may look at the version, at health and at what kinds there are.
    let more = addresses.iter().filter(|rule| rule["verbs"] != json!(["get"])).map(ToString::to_string);
    Ok(resources.iter().map(told).chain(more).collect())
}

async fn post(client: &Client, path: &str, body: &Value) -> Result<Value> {
    let request = Request::post(path).header("content-type", "application/json");
    client.request(request.body(serde_json::to_vec(body)?)?).await.with_context(|| format!("post {path}"))
}

fn told(rule: &Value) -> String {
    let words = |key: &str| {
        let words: BTreeSet<&str> =
            rule[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        words.into_iter().collect::<Vec<_>>().join(",")
    };
    let names = match words("resourceNames") {
        none if none.is_empty() => none,
        some => format!(" [{some}]"),
    };
    format!("{} {}{names}: {}", words("apiGroups"), words("resources"), words("verbs"))
}

fn with_everybody(rules: &[&str]) -> BTreeSet<String> {
    rules.iter().chain(&EVERYBODY).map(|&rule| rule.to_owned()).collect()
}

async fn exactly(ground: &Ground, account: &str, namespace: &str, expected: &[&str]) -> Result<()> {
    let (found, expected) = (rules(ground, account, namespace).await?, with_everybody(expected));
    let more: Vec<&String> = found.difference(&expected).collect();
    let less: Vec<&String> = expected.difference(&found).collect();
    ensure!(
        more.is_empty() && less.is_empty(),
        "{account} in {namespace} may besides {more:?}, and may not {less:?}"
    );
    Ok(())
}

/// The agent may do what its YAML is meant to give it, and nothing else.
pub(crate) async fn of_the_agent(ground: &Ground) -> Result<()> {
    exactly(ground, "taffrail-agent", HOME, &AGENT).await?;
    for namespace in ["default", "kube-system"] {
        exactly(ground, "taffrail-agent", namespace, &AGENT_ELSEWHERE).await?;
    }
    Ok(())
}

/// The applier may do everything everywhere.
pub(crate) async fn of_an_applier_that_is_cluster_admin(ground: &Ground) -> Result<()> {
    let found = rules(ground, "taffrail-applier", "default").await?;
    ensure!(found.contains("* *: *"), "{found:?}");
    Ok(())
}

/// The applier may do everything in these namespaces, and nothing elsewhere.
pub(crate) async fn of_an_applier_in(ground: &Ground, namespaces: &[&str]) -> Result<()> {
    for namespace in namespaces {
        exactly(ground, "taffrail-applier", namespace, &["* *: *"]).await?;
    }
    for namespace in ["default", HOME] {
        exactly(ground, "taffrail-applier", namespace, &[]).await?;
    }
    Ok(())
}
