//! Writes that are no apply: create, update, patch; what is refused and why.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::target::{
    MANAGER, Target, absent, config_map, deployment, fields_of, make_config_maps, managers, plain, refused,
    version,
};

/// A write that builds on an old state is refused and changes nothing.
pub async fn an_update_with_a_stale_version_is_refused(target: &Target) -> Result<()> {
    make_config_maps(target, &["settings"]).await?;
    let api = target.config_maps();
    let old = api.get("settings").await?;
    let mut new = old.clone();
    new.data = Some([("key".to_owned(), "new".to_owned())].into());
    api.replace("settings", &PostParams::default(), &new).await?;
    let status = refused(api.replace("settings", &PostParams::default(), &old).await, 409, "Conflict")?;
    let expected = "Operation cannot be fulfilled on configmaps \"settings\": the object has been modified; please apply your changes to the latest version and try again";
    ensure!(status.message == expected, "message: {}", status.message);
    ensure!(api.get("settings").await?.data == new.data);
    Ok(())
}

/// What is not there is named in the refusal.
pub async fn a_missing_object_is_not_found(target: &Target) -> Result<()> {
    let status = refused(target.deployments().get("nothing").await, 404, "NotFound")?;
    ensure!(status.message == "deployments.apps \"nothing\" not found", "message: {}", status.message);
    let details = status.details.context("details are given")?;
    ensure!(
        (details.name.as_str(), details.group.as_str(), details.kind.as_str())
            == ("nothing", "apps", "deployments")
    );
    let api = target.config_maps();
    refused(api.delete("nothing", &kube::api::DeleteParams::default()).await, 404, "NotFound")?;
    let edit = json!({"data": {"a": "b"}});
    refused(api.patch("nothing", &PatchParams::default(), &Patch::Merge(&edit)).await, 404, "NotFound")?;
    absent(target.get("/apis/example.invalid/v1/things").await)?;
    Ok(())
}

/// A namespace must be there before its contents.
pub async fn a_missing_namespace_is_not_found(target: &Target) -> Result<()> {
    let elsewhere = Target { namespace: "no-such-namespace".to_owned(), ..target.clone() };
    let status = refused(elsewhere.apply(MANAGER, config_map("settings", &[])).await, 404, "NotFound")?;
    ensure!(status.message == "namespaces \"no-such-namespace\" not found", "message: {}", status.message);
    ensure!(elsewhere.config_maps().list(&kube::api::ListParams::default()).await?.items.is_empty());
    Ok(())
}

/// Creating what is there already is refused.
pub async fn an_existing_object_is_not_made_again(target: &Target) -> Result<()> {
    make_config_maps(target, &["settings"]).await?;
    let again = target.config_maps().get("settings").await?;
    let fresh: ConfigMap = serde_json::from_value(config_map("settings", &[]))?;
    let answer = target.config_maps().create(&PostParams::default(), &fresh).await;
    let status = refused(answer, 409, "AlreadyExists")?;
    ensure!(status.message == "configmaps \"settings\" already exists", "message: {}", status.message);
    ensure!(again == target.config_maps().get("settings").await?);
    Ok(())
}

/// A dry run answers as if, and nothing is written.
pub async fn a_dry_run_changes_nothing(target: &Target) -> Result<()> {
    let params = PatchParams::apply(MANAGER).dry_run();
    let made = target.apply_with(&params, config_map("settings", &[("a", "1")])).await?;
    ensure!(made["data"] == json!({"a": "1"}));
    ensure!(target.config_maps().get_opt("settings").await?.is_none(), "the dry run made an object");
    let first = target.apply(MANAGER, config_map("settings", &[("a", "1")])).await?;
    let changed = target.apply_with(&params, config_map("settings", &[("a", "2")])).await?;
    ensure!(changed["data"] == json!({"a": "2"}));
    let create = PostParams { dry_run: true, field_manager: None };
    let other: ConfigMap = serde_json::from_value(config_map("other", &[]))?;
    target.config_maps().create(&create, &other).await?;
    let delete = kube::api::DeleteParams { dry_run: true, ..kube::api::DeleteParams::default() };
    target.config_maps().delete("settings", &delete).await?;
    let live = plain(&target.config_maps().get("settings").await?)?;
    ensure!(live["data"] == json!({"a": "1"}) && version(&live) == version(&first));
    ensure!(target.config_maps().get_opt("other").await?.is_none());
    Ok(())
}

/// Fields that may never change are refused by name.
pub async fn an_immutable_field_is_refused(target: &Target) -> Result<()> {
    target.apply(MANAGER, deployment("web", "image:1", 0)).await?;
    let mut other = deployment("web", "image:1", 0);
    other["spec"]["selector"]["matchLabels"] = json!({"app": "other"});
    other["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let status = refused(target.apply(MANAGER, other).await, 422, "Invalid")?;
    ensure!(
        status.message.starts_with("Deployment.apps \"web\" is invalid: spec.selector: Invalid value: "),
        "{}",
        status.message
    );
    ensure!(status.message.ends_with(": field is immutable"), "message: {}", status.message);
    let cause =
        status.details.and_then(|details| details.causes.into_iter().next()).context("a cause is given")?;
    ensure!(
        (cause.reason.as_str(), cause.field.as_str()) == ("FieldValueInvalid", "spec.selector"),
        "{cause:?}"
    );

    let service = |address: Option<&str>| {
        let mut service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        });
        if let Some(address) = address {
            service["spec"]["clusterIP"] = json!(address);
        }
        service
    };
    let made = target.apply(MANAGER, service(None)).await?;
    ensure!(made["spec"]["clusterIP"].is_string(), "an address is given");
    let again = target.apply(MANAGER, service(None)).await?;
    ensure!(version(&made) == version(&again));
    let status = refused(target.apply(MANAGER, service(Some("None"))).await, 422, "Invalid")?;
    ensure!(status.message.contains("may not change once set"), "message: {}", status.message);
    Ok(())
}

/// JSON patch, merge patch and strategic merge patch each do what they say.
pub async fn patches_of_all_kinds_change_what_they_name(target: &Target) -> Result<()> {
    target.apply(MANAGER, deployment("web", "image:1", 0)).await?;
    let api = target.deployments();
    let params = PatchParams::default();
    let sidecar =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "side:1"}]}}}});
    let both = plain(&api.patch("web", &params, &Patch::Strategic(&sidecar)).await?)?;
    let names: Vec<&str> = both["spec"]["template"]["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|container| container["name"].as_str())
        .collect();
    ensure!(names.len() == 2 && names.contains(&"app") && names.contains(&"sidecar"), "names: {names:?}");
    let without = json!({"metadata": {"labels": {"app": null, "new": "1"}}});
    let merged = plain(&api.patch("web", &params, &Patch::Merge(&without)).await?)?;
    ensure!(merged["metadata"]["labels"] == json!({"new": "1"}), "labels: {}", merged["metadata"]["labels"]);
    let path = format!("{}/web", target.path("/apis/apps/v1", "deployments"));
    let operations = json!([
        {"op": "test", "path": "/spec/replicas", "value": 0},
        {"op": "replace", "path": "/spec/replicas", "value": 1},
        {"op": "add", "path": "/metadata/annotations", "value": {"a/b": "1"}},
        {"op": "remove", "path": "/metadata/annotations/a~1b"},
    ]);
    let send = |operations: serde_json::Value| {
        http::Request::patch(&path)
            .header("content-type", "application/json-patch+json")
            .body(operations.to_string().into_bytes())
    };
    let patched: serde_json::Value = target.client.request(send(operations)?).await?;
    ensure!(patched["spec"]["replicas"] == json!(1));
    let wrong = json!([{"op": "test", "path": "/spec/replicas", "value": 7}]);
    refused(target.client.request::<serde_json::Value>(send(wrong)?).await, 422, "Invalid")?;
    Ok(())
}

/// A write that is no apply takes the fields it changes, and only these, from whoever owned them.
pub async fn a_plain_write_takes_the_fields_it_changes(target: &Target) -> Result<()> {
    target.apply(MANAGER, config_map("settings", &[("a", "1"), ("b", "1")])).await?;
    let params = PatchParams { field_manager: Some("editor".to_owned()), ..PatchParams::default() };
    let edit = json!({"data": {"a": "2", "b": "1", "c": "3"}});
    let edited = plain(&target.config_maps().patch("settings", &params, &Patch::Merge(&edit)).await?)?;
    let ours = fields_of(&edited, MANAGER, "Apply").context("we are recorded")?;
    ensure!(ours == json!({"f:data": {"f:b": {}}}), "ours: {ours}");
    let theirs = fields_of(&edited, "editor", "Update").context("the editor is recorded")?;
    ensure!(theirs == json!({"f:data": {"f:a": {}, "f:c": {}}}), "theirs: {theirs}");
    let anonymous = plain(
        &target
            .config_maps()
            .patch("settings", &PatchParams::default(), &Patch::Merge(&json!({"data": {"d": "4"}})))
            .await?,
    )?;
    ensure!(
        managers(&anonymous).iter().any(|(name, ..)| name != MANAGER && name != "editor"),
        "the user agent names the manager"
    );
    let created = Api::<ConfigMap>::namespaced(target.client.clone(), &target.namespace)
        .create(
            &PostParams { field_manager: Some("maker".to_owned()), dry_run: false },
            &serde_json::from_value(config_map("made", &[("a", "1")]))?,
        )
        .await?;
    let all = fields_of(&plain(&created)?, "maker", "Update").context("the maker is recorded")?;
    ensure!(all == json!({"f:data": {".": {}, "f:a": {}}}), "all: {all}");
    Ok(())
}

/// What does not fit is refused with the field.
pub async fn an_invalid_object_names_its_fields(target: &Target) -> Result<()> {
    let status = refused(target.apply(MANAGER, config_map("Not_A_Name", &[])).await, 422, "Invalid")?;
    ensure!(
        status.message.starts_with("ConfigMap \"Not_A_Name\" is invalid: metadata.name: Invalid value: "),
        "{}",
        status.message
    );
    let mut wrong = deployment("web", "image:1", 0);
    wrong["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let status = refused(target.apply(MANAGER, wrong).await, 422, "Invalid")?;
    ensure!(
        status.message.contains("`selector` does not match template `labels`"),
        "message: {}",
        status.message
    );
    let mut empty = deployment("web", "image:1", 0);
    empty["spec"]["template"]["spec"]["containers"] = json!([]);
    let status = refused(target.apply(MANAGER, empty).await, 422, "Invalid")?;
    ensure!(
        status.message.contains("spec.template.spec.containers: Required value"),
        "message: {}",
        status.message
    );
    Ok(())
}
