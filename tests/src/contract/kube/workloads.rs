//! Custom resources, and Deployments on their way to being available.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::target::{MANAGER, Target, absent, deployment, fields_of, plain, until};

fn definition(word: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{word}s.contract.example.com")},
        "spec": {
            "group": "contract.example.com",
            "scope": "Namespaced",
            "names": {"plural": format!("{word}s"), "kind": kind_of(word), "shortNames": [format!("{word}x")]},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer", "default": 3},
                        "tags": {"type": "array", "items": {"type": "string"}},
                        "parts": {
                            "type": "array",
                            "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["name"],
                            "items": {"type": "object", "required": ["name"], "properties": {
                                "name": {"type": "string"},
                                "value": {"type": "string"},
                            }},
                        },
                        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    }},
                    "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
                }}},
            }],
        },
    })
}

fn kind_of(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().collect::<String>() + letters.as_str())
        .unwrap_or_default()
}

fn definitions(target: &Target) -> Api<CustomResourceDefinition> {
    Api::all(target.client.clone())
}

/// Applies a definition and waits until it is served.
pub(super) async fn define(target: &Target, word: &str) -> Result<()> {
    let name = format!("{word}s.contract.example.com");
    definitions(target).patch(&name, &PatchParams::apply(MANAGER), &Patch::Apply(&definition(word))).await?;
    until("the definition is established", || async {
        let live = plain(&definitions(target).get(&name).await?)?;
        let conditions = live["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let holds =
            conditions.iter().any(|c| c["type"] == json!("Established") && c["status"] == json!("True"));
        Ok(holds.then_some(()))
    })
    .await?;
    until("the kind is served", || async {
        Ok(things(target, word).list(&ListParams::default()).await.ok())
    })
    .await?;
    Ok(())
}

pub(super) fn things(target: &Target, word: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("contract.example.com", "v1", &kind_of(word)),
        &format!("{word}s"),
    );
    Api::namespaced_with(target.client.clone(), &target.namespace, &resource)
}

pub(super) async fn undefine(target: &Target, word: &str) -> Result<()> {
    let name = format!("{word}s.contract.example.com");
    definitions(target).delete(&name, &DeleteParams::default()).await?;
    until("the definition is gone", || async {
        Ok(definitions(target).get_opt(&name).await?.is_none().then_some(()))
    })
    .await
}

fn thing(word: &str, spec: &Value) -> Value {
    json!({"apiVersion": "contract.example.com/v1", "kind": kind_of(word), "metadata": {"name": "one"}, "spec": spec})
}

/// A kind is served from its definition's making to its end, which takes its objects along.
pub async fn a_definition_serves_its_kind_until_it_goes(target: &Target) -> Result<()> {
    let early = target.apply(MANAGER, thing("widget", &json!({}))).await;
    absent(early)?;
    define(target, "widget").await?;
    let api = things(target, "widget");
    let params = PatchParams::apply(MANAGER);
    let made =
        plain(&api.patch("one", &params, &Patch::Apply(&thing("widget", &json!({"tags": ["a"]})))).await?)?;
    ensure!(made["spec"]["size"] == json!(3), "the default is filled in: {made:#}");
    ensure!(made["metadata"]["generation"] == json!(1));
    let found = target.client.list_api_group_resources("contract.example.com/v1").await?;
    ensure!(found.resources.iter().any(|resource| resource.kind == "Widget" && resource.name == "widgets"));
    undefine(target, "widget").await?;
    until("the kind is not served", || async { Ok(absent(api.get("one").await).ok()) }).await?;
    Ok(())
}

/// Lists of custom resources are atomic unless the schema says otherwise; status is apart; unknown fields are refused.
pub async fn custom_resources_are_owned_by_their_schema(target: &Target) -> Result<()> {
    define(target, "gadget").await?;
    let api = things(target, "gadget");
    let spec = json!({
        "size": 1,
        "tags": ["a"],
        "parts": [{"name": "x", "value": "1"}],
        "free": {"any": {"thing": true}},
    });
    let params = PatchParams::apply(MANAGER);
    let made = plain(&api.patch("one", &params, &Patch::Apply(&thing("gadget", &spec))).await?)?;
    let owned = fields_of(&made, MANAGER, "Apply").context("the manager is recorded")?;
    let expected = json!({"f:spec": {
        "f:free": {"f:any": {".": {}, "f:thing": {}}},
        "f:parts": {r#"k:{"name":"x"}"#: {".": {}, "f:name": {}, "f:value": {}}},
        "f:size": {},
        "f:tags": {},
    }});
    ensure!(owned == expected, "owned: {owned:#}");
    let other = thing("gadget", &json!({"parts": [{"name": "y", "value": "2"}]}));
    let both = plain(&api.patch("one", &PatchParams::apply("other"), &Patch::Apply(&other)).await?)?;
    ensure!(
        both["spec"]["parts"].as_array().is_some_and(|parts| parts.len() == 2),
        "parts: {}",
        both["spec"]["parts"]
    );
    let status = json!({"apiVersion": "contract.example.com/v1", "kind": "Gadget", "metadata": {"name": "one"}, "status": {"phase": "Done"}});
    let judged =
        plain(&api.patch_status("one", &PatchParams::apply("judge"), &Patch::Apply(&status)).await?)?;
    ensure!(
        judged["status"] == json!({"phase": "Done"}) && judged["metadata"]["generation"] == json!(2),
        "{judged:#}"
    );
    let wrong = thing("gadget", &json!({"sizes": 1}));
    let answer = api.patch("one", &params, &Patch::Apply(&wrong)).await;
    let refusal = super::target::refusal(answer)?;
    ensure!(
        refusal.message.ends_with(".spec.sizes: field not declared in schema"),
        "message: {}",
        refusal.message
    );
    undefine(target, "gadget").await
}

fn condition<'a>(deployment: &'a Value, kind: &str) -> Option<&'a Value> {
    deployment["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == json!(kind))
}

fn reason<'a>(deployment: &'a Value, kind: &str) -> &'a str {
    condition(deployment, kind).and_then(|condition| condition["reason"].as_str()).unwrap_or_default()
}

/// Waits until the Deployment, as observed, gives `fact`.
async fn until_deployment(target: &Target, what: &str, fact: impl Fn(&Value) -> bool) -> Result<Value> {
    until(what, || async {
        let live = plain(&target.deployments().get("web").await?)?;
        let observed = live["status"]["observedGeneration"] == live["metadata"]["generation"];
        Ok((observed && fact(&live)).then_some(live))
    })
    .await
}

/// All pods come up, the counts say so, and the conditions have the reasons that health rules look for.
pub async fn a_deployment_becomes_available(target: &Target) -> Result<()> {
    target.apply(MANAGER, deployment("web", "image:1", 2)).await?;
    let done = until_deployment(target, "the Deployment is complete", |live| {
        reason(live, "Progressing") == "NewReplicaSetAvailable"
    })
    .await?;
    let status = &done["status"];
    for field in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
        ensure!(status[field] == json!(2), "{field}: {status:#}");
    }
    ensure!(status.get("unavailableReplicas").is_none(), "{status:#}");
    ensure!(reason(&done, "Available") == "MinimumReplicasAvailable");
    ensure!(done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == json!("1"));
    let controller = super::target::managers(&done)
        .into_iter()
        .find(|(name, ..)| name == "kube-controller-manager")
        .context("the controller is recorded")?;
    ensure!(
        controller.2 == "status" && controller.3["f:status"]["f:readyReplicas"] == json!({}),
        "{controller:?}"
    );
    let scaled = target.apply(MANAGER, deployment("web", "image:1", 0)).await?;
    ensure!(scaled["metadata"]["generation"] == json!(2));
    until_deployment(target, "the Deployment is empty", |live| live["status"].get("replicas").is_none())
        .await?;
    Ok(())
}

/// While a new version rolls out, no fewer pods than wanted serve.
pub async fn a_deployment_rolls_over_without_a_gap(target: &Target) -> Result<()> {
    let mut web = deployment("web", "image:1", 2);
    web["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    target.apply(MANAGER, web.clone()).await?;
    let complete = |live: &Value| reason(live, "Progressing") == "NewReplicaSetAvailable";
    until_deployment(target, "the first version is complete", complete).await?;
    web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("image:2");
    target.apply(MANAGER, web).await?;
    let done = until("the second version is complete", || async {
        let live = plain(&target.deployments().get("web").await?)?;
        let serving = live["status"]["availableReplicas"].as_u64().unwrap_or(0);
        ensure!(2 <= serving, "only {serving} serve");
        let observed = live["status"]["observedGeneration"] == live["metadata"]["generation"];
        let done = observed
            && live["status"]["updatedReplicas"] == json!(2)
            && live["status"]["replicas"] == json!(2);
        Ok((done && complete(&live)).then_some(live))
    })
    .await?;
    ensure!(done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == json!("2"));
    Ok(())
}

/// An image that is not there shows in the pod, by reason and message, and the old pods go on serving.
pub async fn an_image_that_cannot_be_pulled_is_named(target: &Target) -> Result<()> {
    target.apply(MANAGER, deployment("web", "image:1", 1)).await?;
    until_deployment(target, "the first version is complete", |live| {
        reason(live, "Progressing") == "NewReplicaSetAvailable"
    })
    .await?;
    target.apply(MANAGER, deployment("web", "does-not-exist:2", 1)).await?;
    let pods = Api::<Pod>::namespaced(target.client.clone(), &target.namespace);
    let waiting = until("a pod says what it waits for", || async {
        let pods = pods.list(&ListParams::default().labels("app=web")).await?;
        let states = pods.items.iter().filter_map(|pod| {
            let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
            statuses.iter().find_map(|status| status.state.as_ref()?.waiting.clone())
        });
        Ok(states.into_iter().find(|waiting| waiting.reason.as_deref() == Some("ImagePullBackOff")))
    })
    .await?;
    let message = waiting.message.unwrap_or_default();
    ensure!(message.starts_with("Back-off pulling image \"does-not-exist:2\""), "message: {message}");
    let live = until_deployment(target, "the roll-out waits", |live| {
        live["status"]["unavailableReplicas"] == json!(1)
    })
    .await?;
    ensure!(live["status"]["availableReplicas"] == json!(1), "status: {:#}", live["status"]);
    ensure!(reason(&live, "Available") == "MinimumReplicasAvailable");
    Ok(())
}

/// A roll-out that makes no progress in its time says so.
pub async fn a_deployment_that_is_late_says_so(target: &Target) -> Result<()> {
    let mut web = deployment("web", "never-ready:1", 1);
    web["spec"]["progressDeadlineSeconds"] = json!(2);
    target.apply(MANAGER, web).await?;
    let late = until_deployment(target, "the deadline is exceeded", |live| {
        reason(live, "Progressing") == "ProgressDeadlineExceeded"
    })
    .await?;
    let condition = condition(&late, "Progressing").context("the condition is there")?;
    ensure!(condition["status"] == json!("False"));
    let message = condition["message"].as_str().unwrap_or_default();
    ensure!(
        message.starts_with("ReplicaSet \"web-") && message.ends_with("\" has timed out progressing."),
        "{message}"
    );
    ensure!(reason(&late, "Available") == "MinimumReplicasUnavailable");
    Ok(())
}
