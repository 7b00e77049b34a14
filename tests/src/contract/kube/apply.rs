//! Server-side apply and who owns which field.

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::target::{
    MANAGER, Target, config_map, deployment, fields_of, managers, plain, refusal, refused, version,
};

/// An object that is not there is made; the manager owns what it named, and nothing else.
pub async fn makes_an_object_and_records_its_fields(target: &Target) -> Result<()> {
    let made = target.apply(MANAGER, deployment("web", "image:1", 0)).await?;
    ensure!(made["spec"]["strategy"]["type"] == json!("RollingUpdate"), "defaults are filled in");
    ensure!(made["metadata"]["generation"] == json!(1));
    let expected = json!({
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:containers": {r#"k:{"name":"app"}"#: {
                    ".": {},
                    "f:image": {},
                    "f:name": {},
                    "f:ports": {r#"k:{"containerPort":8080,"protocol":"TCP"}"#: {".": {}, "f:containerPort": {}}},
                }}},
            },
        },
    });
    let owned = fields_of(&made, MANAGER, "Apply").context("the manager is recorded")?;
    ensure!(owned == expected, "owned: {owned:#}");
    Ok(())
}

/// What changed in the configuration changes in the object; what left the configuration leaves the object.
pub async fn changes_and_removes_what_the_manager_owns(target: &Target) -> Result<()> {
    target.apply(MANAGER, config_map("settings", &[("a", "1"), ("b", "2")])).await?;
    let changed = target.apply(MANAGER, config_map("settings", &[("a", "3")])).await?;
    ensure!(changed["data"] == json!({"a": "3"}), "data: {}", changed["data"]);
    let mut with_env = deployment("web", "image:1", 0);
    with_env["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "1"}]);
    with_env["spec"]["progressDeadlineSeconds"] = json!(60);
    target.apply(MANAGER, with_env).await?;
    let bare = target.apply(MANAGER, deployment("web", "image:2", 0)).await?;
    let container = &bare["spec"]["template"]["spec"]["containers"][0];
    ensure!(
        container["image"] == json!("image:2") && container.get("env").is_none(),
        "container: {container:#}"
    );
    ensure!(bare["spec"]["progressDeadlineSeconds"] == json!(600), "a default comes back");
    Ok(())
}

/// A conflict names the manager and the field, in the message and as a cause.
pub async fn is_refused_where_another_manager_owns_the_field(target: &Target) -> Result<()> {
    target.apply(MANAGER, deployment("web", "image:1", 0)).await?;
    let edit = json!({"spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "app", "image": "image:x"}]}}}});
    let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    target.deployments().patch("web", &params, &Patch::Strategic(&edit)).await?;
    let status = refused(target.apply(MANAGER, deployment("web", "image:1", 0)).await, 409, "Conflict")?;
    let expected = "Apply failed with 2 conflicts: conflicts with \"kubectl-edit\" using apps/v1:\n- .spec.replicas\n- .spec.template.spec.containers[name=\"app\"].image";
    ensure!(status.message == expected, "message: {}", status.message);
    let causes = status.details.context("causes are given")?.causes;
    let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
    ensure!(
        fields == [".spec.replicas", ".spec.template.spec.containers[name=\"app\"].image"],
        "fields: {fields:?}"
    );
    ensure!(causes.iter().all(|cause| cause.reason == "FieldManagerConflict"));
    target.apply("other", config_map("settings", &[("key", "1")])).await?;
    let status =
        refused(target.apply("third", config_map("settings", &[("key", "2")])).await, 409, "Conflict")?;
    ensure!(
        status.message == "Apply failed with 1 conflict: conflict with \"other\": .data.key",
        "message: {}",
        status.message
    );
    Ok(())
}

/// Force takes the field from its owner, who owns it no more.
pub async fn takes_over_by_force(target: &Target) -> Result<()> {
    target.apply("other", config_map("settings", &[("key", "theirs"), ("rest", "theirs")])).await?;
    let taken = target.force(MANAGER, config_map("settings", &[("key", "ours")])).await?;
    ensure!(taken["data"] == json!({"key": "ours", "rest": "theirs"}));
    let ours = fields_of(&taken, MANAGER, "Apply").context("we are recorded")?;
    ensure!(ours == json!({"f:data": {"f:key": {}}}), "ours: {ours}");
    let theirs = fields_of(&taken, "other", "Apply").context("the other stays recorded")?;
    ensure!(theirs == json!({"f:data": {"f:rest": {}}}), "theirs: {theirs}");
    Ok(())
}

/// Fields that others set stay, whatever we apply.
pub async fn leaves_the_fields_of_others_alone(target: &Target) -> Result<()> {
    target.apply(MANAGER, config_map("settings", &[("ours", "1")])).await?;
    let edit = json!({"data": {"theirs": "1"}, "metadata": {"annotations": {"note": "theirs"}}});
    target.config_maps().patch("settings", &PatchParams::default(), &Patch::Merge(&edit)).await?;
    let applied = target.apply(MANAGER, config_map("settings", &[("ours", "2")])).await?;
    ensure!(applied["data"] == json!({"ours": "2", "theirs": "1"}));
    ensure!(applied["metadata"]["annotations"] == json!({"note": "theirs"}));
    ensure!(managers(&applied).len() == 2, "managers: {:?}", managers(&applied));
    Ok(())
}

/// Applying the same again writes nothing.
pub async fn that_changes_nothing_leaves_the_version(target: &Target) -> Result<()> {
    for object in [config_map("settings", &[("a", "1")]), deployment("web", "image:1", 0)] {
        let mut object = object;
        object["metadata"]["annotations"] = json!({"a": "b"});
        let first = target.apply(MANAGER, object.clone()).await?;
        let first = if object["kind"] == json!("Deployment") { settle(target, &first).await? } else { first };
        let again = target.apply(MANAGER, object).await?;
        ensure!(version(&first) == version(&again), "{} became {}", version(&first), version(&again));
    }
    Ok(())
}

/// Waits until the controller has said what it has to say about a Deployment.
async fn settle(target: &Target, deployment: &serde_json::Value) -> Result<serde_json::Value> {
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    super::target::until("the Deployment is observed", || async {
        let live = plain(&target.deployments().get(name).await?)?;
        let conditions = live["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let done = conditions.iter().any(|condition| condition["reason"] == json!("NewReplicaSetAvailable"));
        Ok(done.then_some(live))
    })
    .await
}

/// Two managers that apply the same value both own it; it goes when both let it go.
pub async fn shares_a_field_with_an_equal_value(target: &Target) -> Result<()> {
    target.apply(MANAGER, config_map("settings", &[("shared", "1"), ("own", "1")])).await?;
    let shared = target.apply("other", config_map("settings", &[("shared", "1")])).await?;
    ensure!(managers(&shared).len() == 2);
    let left = target.apply(MANAGER, config_map("settings", &[("own", "1")])).await?;
    ensure!(left["data"] == json!({"own": "1", "shared": "1"}));
    let gone = target.apply("other", config_map("settings", &[])).await?;
    ensure!(gone["data"] == json!({"own": "1"}), "data: {}", gone["data"]);
    Ok(())
}

/// The generation counts changes of the spec, not of metadata or status.
pub async fn counts_a_generation_only_for_the_spec(target: &Target) -> Result<()> {
    target.apply(MANAGER, deployment("web", "image:1", 0)).await?;
    let mut labelled = deployment("web", "image:1", 0);
    labelled["metadata"]["labels"]["more"] = json!("1");
    let same = target.apply(MANAGER, labelled).await?;
    ensure!(same["metadata"]["generation"] == json!(1), "generation: {}", same["metadata"]["generation"]);
    let next = target.apply(MANAGER, deployment("web", "image:2", 0)).await?;
    ensure!(next["metadata"]["generation"] == json!(2), "generation: {}", next["metadata"]["generation"]);
    Ok(())
}

/// A field that the kind does not have is refused by name.
pub async fn refuses_an_unknown_field(target: &Target) -> Result<()> {
    let mut wrong = deployment("web", "image:1", 0);
    wrong["spec"]["replica"] = json!(1);
    let status = refusal(target.apply(MANAGER, wrong).await)?;
    ensure!(status.code == 500, "code: {}", status.code);
    let expected = "failed to create typed patch object (/web; apps/v1, Kind=Deployment): .spec.replica: field not declared in schema";
    ensure!(status.message == expected, "message: {}", status.message);
    let mut wrong = deployment("web", "image:1", 0);
    wrong["metadata"]["annotations"] = json!({"port": 80});
    let status = refusal(target.apply(MANAGER, wrong).await)?;
    let expected = ".metadata.annotations.port: expected string, got &value.valueUnstructured{Value:80}";
    ensure!(status.message.ends_with(expected), "message: {}", status.message);
    Ok(())
}

/// What is applied to the status subresource is recorded with it, and an apply to the object does not touch the status.
pub async fn of_a_status_is_owned_apart(target: &Target) -> Result<()> {
    let claim = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "budget"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "nothing-has-this"}}},
        "status": {"currentHealthy": 7, "desiredHealthy": 7, "disruptionsAllowed": 7, "expectedPods": 7},
    });
    let applied = target.apply(MANAGER, claim.clone()).await?;
    ensure!(applied["status"]["currentHealthy"] != json!(7), "the object's apply wrote the status");
    let params = PatchParams::apply("judge").force();
    let budgets = target.any("policy", "v1", "PodDisruptionBudget");
    let mut status = claim;
    status.as_object_mut().and_then(|object| object.remove("spec"));
    let written = plain(&budgets.patch_status("budget", &params, &Patch::Apply(&status)).await?)?;
    ensure!(written["status"]["currentHealthy"] == json!(7));
    let judge =
        managers(&written).into_iter().find(|(name, ..)| name == "judge").context("the judge is recorded")?;
    ensure!(judge.2 == "status", "subresource: {}", judge.2);
    Ok(())
}

/// Fields of an object that was never applied belong to the one who wrote them; the first apply meets them as conflicts.
pub async fn adopts_what_was_written_before(target: &Target) -> Result<()> {
    super::target::make_config_maps(target, &["old"]).await?;
    let status = refused(target.apply(MANAGER, config_map("old", &[("key", "new")])).await, 409, "Conflict")?;
    ensure!(status.message.contains("using v1: .data.key"), "message: {}", status.message);
    let taken = target.force(MANAGER, config_map("old", &[("key", "new")])).await?;
    ensure!(taken["metadata"]["labels"] == json!({"suite": "contract"}), "labels that we do not name stay");
    Ok(())
}

/// An apply without a manager's name is refused.
pub async fn needs_a_manager(target: &Target) -> Result<()> {
    let path = format!("{}/settings", target.path("/api/v1", "configmaps"));
    let request = http::Request::patch(path)
        .header("content-type", "application/apply-patch+yaml")
        .body(serde_json::to_vec(&config_map("settings", &[]))?)?;
    let status = refusal(target.client.request::<serde_json::Value>(request).await)?;
    ensure!(status.code == 422 || status.code == 400, "code: {}", status.code);
    ensure!(status.message.contains("is required for apply patch"), "message: {}", status.message);
    Ok(())
}
