//! Deletion: dependents, finalizers, preconditions, namespaces.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use serde_json::{Value, json};

use super::target::{MANAGER, Target, config_map, deployment, make_config_maps, plain, refused, until};

/// Makes an owner and one that it owns.
async fn make_family(target: &Target) -> Result<()> {
    make_config_maps(target, &["owner"]).await?;
    let api = target.config_maps();
    let owner = api.get("owner").await?;
    let mut dependent: ConfigMap = serde_json::from_value(config_map("dependent", &[]))?;
    dependent.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: "owner".to_owned(),
        uid: owner.uid().context("objects have an identifier")?,
        block_owner_deletion: Some(true),
        controller: None,
    }]);
    api.create(&PostParams::default(), &dependent).await?;
    Ok(())
}

fn with(policy: PropagationPolicy) -> DeleteParams {
    DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() }
}

async fn gone(api: &Api<ConfigMap>, name: &str) -> Result<()> {
    until("the object is gone", || async { Ok(api.get_opt(name).await?.is_none().then_some(())) }).await
}

/// The owner goes at once, its dependents soon after.
pub async fn in_the_background_takes_dependents_along(target: &Target) -> Result<()> {
    make_family(target).await?;
    let api = target.config_maps();
    let answer = api.delete("owner", &with(PropagationPolicy::Background)).await?;
    ensure!(answer.is_right(), "a finished deletion answers with a status");
    ensure!(api.get_opt("owner").await?.is_none());
    gone(&api, "dependent").await?;
    target.apply(MANAGER, deployment("web", "image:1", 1)).await?;
    let pods = Api::<Pod>::namespaced(target.client.clone(), &target.namespace);
    until("there is a pod", || async {
        Ok((!pods.list(&ListParams::default()).await?.items.is_empty()).then_some(()))
    })
    .await?;
    target.deployments().delete("web", &DeleteParams::default()).await?;
    let sets = Api::<ReplicaSet>::namespaced(target.client.clone(), &target.namespace);
    until("sets and pods are gone", || async {
        let none = sets.list(&ListParams::default()).await?.items.is_empty()
            && pods.list(&ListParams::default()).await?.items.is_empty();
        Ok(none.then_some(()))
    })
    .await
}

/// The owner stays, marked, until the dependents that block it are gone.
pub async fn in_the_foreground_waits_for_dependents(target: &Target) -> Result<()> {
    make_family(target).await?;
    let api = target.config_maps();
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    api.patch("dependent", &PatchParams::default(), &Patch::Merge(&hold)).await?;
    let answer = api.delete("owner", &with(PropagationPolicy::Foreground)).await?;
    let owner = answer.left().context("a deletion that waits answers with the object")?;
    ensure!(owner.finalizers() == ["foregroundDeletion"], "finalizers: {:?}", owner.finalizers());
    until("the dependent is being deleted", || async {
        let dependent = api.get("dependent").await?;
        Ok(dependent.metadata.deletion_timestamp.is_some().then_some(()))
    })
    .await?;
    ensure!(api.get_opt("owner").await?.is_some(), "the owner went before its dependent");
    let free = json!({"metadata": {"finalizers": null}});
    api.patch("dependent", &PatchParams::default(), &Patch::Merge(&free)).await?;
    gone(&api, "dependent").await?;
    gone(&api, "owner").await
}

/// Orphans lose the reference and stay.
pub async fn can_leave_dependents_behind(target: &Target) -> Result<()> {
    make_family(target).await?;
    let api = target.config_maps();
    api.delete("owner", &with(PropagationPolicy::Orphan)).await?;
    gone(&api, "owner").await?;
    until("the dependent has no owner", || async {
        Ok(api.get("dependent").await?.owner_references().is_empty().then_some(()))
    })
    .await
}

/// An object with finalizers is marked and stays until the last one is taken out; new ones are refused meanwhile.
pub async fn waits_for_finalizers(target: &Target) -> Result<()> {
    let mut held = config_map("held", &[("a", "1")]);
    held["metadata"]["finalizers"] = json!(["example.com/one", "example.com/two"]);
    target.apply(MANAGER, held).await?;
    let api = target.config_maps();
    let marked =
        api.delete("held", &DeleteParams::default()).await?.left().context("a held object is the answer")?;
    ensure!(
        marked.metadata.deletion_timestamp.is_some()
            && marked.metadata.deletion_grace_period_seconds == Some(0)
    );
    let first = marked.metadata.deletion_timestamp.clone();
    let again = api.delete("held", &DeleteParams::default()).await?.left().context("it is still held")?;
    ensure!(again.metadata.deletion_timestamp == first, "the mark moved");
    let set = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    let more = set(json!(["example.com/one", "example.com/two", "example.com/three"]));
    let answer = api.patch("held", &PatchParams::default(), &Patch::Merge(&more)).await;
    let status = refused(answer, 422, "Invalid")?;
    ensure!(status.message.contains("no new finalizers can be added"), "message: {}", status.message);
    let one =
        api.patch("held", &PatchParams::default(), &Patch::Merge(&set(json!(["example.com/two"])))).await?;
    ensure!(one.finalizers() == ["example.com/two"]);
    ensure!(api.get_opt("held").await?.is_some());
    api.patch("held", &PatchParams::default(), &Patch::Merge(&set(json!([])))).await?;
    ensure!(api.get_opt("held").await?.is_none(), "nothing holds it any more");
    Ok(())
}

/// A deletion can be bound to one incarnation of an object.
pub async fn respects_preconditions(target: &Target) -> Result<()> {
    make_config_maps(target, &["a"]).await?;
    let api = target.config_maps();
    let live = api.get("a").await?;
    let bound = |uid: Option<String>, resource_version: Option<String>| DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version }),
        ..DeleteParams::default()
    };
    let other = "11111111-2222-4333-8444-555555555555".to_owned();
    let status = refused(api.delete("a", &bound(Some(other), None)).await, 409, "Conflict")?;
    ensure!(status.message.contains("the UID in the precondition (11111111-"), "{}", status.message);
    refused(api.delete("a", &bound(None, Some("1".to_owned()))).await, 409, "Conflict")?;
    api.delete("a", &bound(live.uid(), live.resource_version())).await?;
    gone(&api, "a").await
}

/// A namespace ends when its contents have ended; nothing new is let in meanwhile.
pub async fn of_a_namespace_takes_its_contents_along(target: &Target) -> Result<()> {
    let namespaces = Api::<Namespace>::all(target.client.clone());
    let name = format!("{}-inner", target.namespace);
    let object: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    let made = plain(&namespaces.create(&PostParams::default(), &object).await?)?;
    ensure!(
        made["status"]["phase"] == json!("Active") && made["spec"]["finalizers"] == json!(["kubernetes"])
    );
    ensure!(made["metadata"]["labels"] == json!({"kubernetes.io/metadata.name": name}));
    let inner = Target { namespace: name.clone(), ..target.clone() };
    let mut held = config_map("held", &[]);
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    inner.apply(MANAGER, held).await?;
    make_config_maps(&inner, &["a"]).await?;
    let ending =
        namespaces.delete(&name, &DeleteParams::default()).await?.left().context("a namespace takes time")?;
    ensure!(plain(&ending)?["status"]["phase"] == json!("Terminating"), "phase: {:?}", ending.status);
    gone(&inner.config_maps(), "a").await?;
    let status = refused(inner.apply(MANAGER, config_map("late", &[])).await, 403, "Forbidden")?;
    ensure!(status.message.contains("because it is being terminated"), "message: {}", status.message);
    let free = json!({"metadata": {"finalizers": null}});
    inner.config_maps().patch("held", &PatchParams::default(), &Patch::Merge(&free)).await?;
    until("the namespace is gone", || async { Ok(namespaces.get_opt(&name).await?.is_none().then_some(())) })
        .await
}
