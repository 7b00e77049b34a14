//! Refusals that only a whole control plane gives: policies, quotas, roles, namespaces that are leaving.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use serde_json::json;
use taffrail_agent::kube::{Access, Api as Port, ApiError, Clients, Kind, Objects};

use super::bench::{Bench, HOME, config_map, eventually};
use super::objects::refusal;

/// Asks for refusals until one is of this kind: what refuses takes effect a moment after it was made.
async fn refused(bench: &Bench, kind: Kind) -> Result<ApiError> {
    let mut number = 0;
    eventually("it is refused", async || {
        number += 1;
        let mut object = config_map(&format!("refused-{number}"), "a");
        object["data"]["forbidden"] = json!("yes");
        let result = bench.port.apply(&bench.request(object)).await;
        Ok(result.err().filter(|error| error.kind == kind))
    })
    .await
}

/// A policy's own words reach the person who wrote the commit.
pub async fn a_policy_denies_with_its_message(bench: &Bench) -> Result<()> {
    let names = json!({"kubernetes.io/metadata.name": bench.namespace});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "port-no-forbidden"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": names},
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                    "resources": ["configmaps"]}],
            },
            "validations": [{"expression": "!('forbidden' in object.data)", "message": "ask the platform team"}],
        },
    });
    bench.edit("admin", policy).await?;
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "port-no-forbidden"},
        "spec": {"policyName": "port-no-forbidden", "validationActions": ["Deny"]},
    });
    bench.edit("admin", binding).await?;
    let error = refused(bench, Kind::AdmissionDenied).await?;
    ensure!(error.message.contains("ask the platform team") && !error.retriable, "{error:?}");
    ensure!(error.cause().is_some_and(|cause| cause.as_str() == "AdmissionDenied"), "{error:?}");
    ensure!(bench.apply(config_map("allowed", "a")).await?.created);
    Ok(())
}

/// A quota that is used up is named, and may have room again.
pub async fn a_quota_is_named(bench: &Bench) -> Result<()> {
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "port"},
        "spec": {"hard": {"configmaps": "0"}}});
    bench.edit("admin", quota).await?;
    let error = refused(bench, Kind::Quota).await?;
    ensure!(error.retriable && error.message.contains("quota: port"), "{error:?}");
    Ok(())
}

/// The impersonated identity has its own rights, and none beyond them.
pub async fn an_identity_without_rights_is_forbidden(bench: &Bench) -> Result<()> {
    let applier = format!("system:serviceaccount:{HOME}:nobody");
    let access = Access { kubeconfig: Some(bench.kubeconfig.clone()), applier, ..Access::default() };
    let port = Port::new(Clients::new(&access).await?);
    let error = refusal(port.apply(&bench.request(config_map("it", "a"))).await)?;
    ensure!(error.kind == Kind::Forbidden && !error.retriable, "{error:?}");
    ensure!(error.message.contains("nobody"), "{error:?}");
    Ok(())
}

/// A namespace that is leaving takes nothing new.
pub async fn a_namespace_that_is_leaving_is_named(bench: &Bench) -> Result<()> {
    let mut object = config_map("held", "a");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    bench.apply(object).await?;
    let namespaces = Api::<Namespace>::all(bench.admin.clone());
    namespaces.delete(&bench.namespace, &DeleteParams::default()).await?;
    let error = refused(bench, Kind::NamespaceTerminating).await?;
    ensure!(error.retriable, "{error:?}");
    let free =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": null}});
    bench.merge("admin", free).await?;
    Ok(())
}

/// Words about a Secret may quote it, so they are withheld.
pub async fn a_secret_that_breaks_its_schema_is_invalid_and_not_quoted(bench: &Bench) -> Result<()> {
    for data in [json!({"token": "hush-hush"}), json!({"hush hush": "aGk="})] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "it"}, "data": data});
        let error = refusal(bench.port.apply(&bench.request(secret.clone())).await)?;
        ensure!(!error.message.contains("hush-hush"), "{error:?}");
        let words = bench.edit("admin", secret).await;
        ensure!(error.kind == Kind::Invalid && !error.retriable, "{error:?}, without a veil: {words:?}");
    }
    Ok(())
}
