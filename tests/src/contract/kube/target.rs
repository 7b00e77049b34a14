//! The server under test, and short ways to speak to it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind, Status};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// How long a fact may take: real controllers on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_mins(1);
/// Between two looks at a fact.
const PAUSE: Duration = Duration::from_millis(20);
/// The field manager of the cases.
pub(super) const MANAGER: &str = "taffrail";

/// Makes the server forget its history, now or soon.
pub type Compact = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A server and a namespace of the case's own.
#[derive(Clone)]
pub struct Target {
    /// A client of an administrator.
    pub client: Client,
    /// A namespace that no other case uses.
    pub namespace: String,
    /// Makes the server forget its history.
    pub compact: Compact,
}

impl Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Target {
    /// Makes the case's namespace. Fails if there is one of that name already.
    pub async fn prepare(client: Client, case: &str, compact: Compact) -> Result<Self> {
        let namespace: String = case.replace('_', "-").chars().take(63).collect();
        let namespace = namespace.trim_end_matches('-').to_owned();
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        let namespaces = Api::<Namespace>::all(client.clone());
        namespaces.create(&PostParams::default(), &object).await.context("make the case's namespace")?;
        Ok(Self { client, namespace, compact })
    }

    pub(super) fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Objects of any kind in the case's namespace.
    pub(super) fn any(&self, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Applies an object as a manager; conflicts are refusals.
    pub(super) async fn apply(&self, manager: &str, object: Value) -> kube::Result<Value> {
        self.apply_with(&PatchParams::apply(manager), object).await
    }

    pub(super) async fn force(&self, manager: &str, object: Value) -> kube::Result<Value> {
        self.apply_with(&PatchParams::apply(manager).force(), object).await
    }

    pub(super) async fn apply_with(&self, params: &PatchParams, object: Value) -> kube::Result<Value> {
        let (group, version, kind) = type_of(&object);
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let applied = self.any(group, version, kind).patch(&name, params, &Patch::Apply(&object)).await?;
        serde_json::to_value(applied).map_err(kube::Error::SerdeError)
    }

    /// A request as it is written, with its answer as it is.
    pub(super) async fn get(&self, path: &str) -> kube::Result<Value> {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }

    /// The path of a collection in the case's namespace.
    pub(super) fn path(&self, prefix: &str, plural: &str) -> String {
        format!("{prefix}/namespaces/{}/{plural}", self.namespace)
    }
}

fn type_of(object: &Value) -> (&str, &str, &str) {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    (group, version, object["kind"].as_str().unwrap_or_default())
}

/// The refusal that an answer must be.
pub(super) fn refusal<T: Debug>(answer: kube::Result<T>) -> Result<Status> {
    match answer {
        Err(kube::Error::Api(status)) => Ok(*status),
        Err(other) => Err(other).context("the request failed otherwise"),
        Ok(answer) => bail!("the request was not refused: {answer:?}"),
    }
}

/// A refusal with this code and reason.
pub(super) fn refused<T: Debug>(answer: kube::Result<T>, code: u16, reason: &str) -> Result<Status> {
    let status = refusal(answer)?;
    ensure!(status.code == code && status.reason == reason, "expected {code} {reason}, got {status:?}");
    Ok(status)
}

/// A path that is not served at all: 404, in whatever words.
pub(super) fn absent<T: Debug>(answer: kube::Result<T>) -> Result<()> {
    let status = refusal(answer)?;
    ensure!(status.code == 404, "expected 404, got {status:?}");
    Ok(())
}

/// Waits until `fact` gives something. Fails with the last answer when it takes too long.
pub(super) async fn until<T, F, Fut>(what: &str, mut fact: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = fact().await? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("{what}: not within {LIMIT:?}");
        }
        sleep(PAUSE).await;
    }
}

/// The managers of an object: name, operation, subresource, and fields.
pub(super) fn managers(object: &Value) -> Vec<(String, String, String, Value)> {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            let fields = entry["fieldsV1"].clone();
            (text(entry, "manager"), text(entry, "operation"), text(entry, "subresource"), fields)
        })
        .collect()
}

/// The fields of one manager's applies or updates.
pub(super) fn fields_of(object: &Value, manager: &str, operation: &str) -> Option<Value> {
    managers(object)
        .into_iter()
        .find(|(name, kind, ..)| name == manager && kind == operation)
        .map(|found| found.3)
}

pub(super) fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

pub(super) fn config_map(name: &str, data: &[(&str, &str)]) -> Value {
    let data: std::collections::BTreeMap<_, _> = data.iter().copied().collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

pub(super) fn deployment(name: &str, image: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": image, "ports": [{"containerPort": 8080}]}]},
            },
        },
    })
}

/// A typed object as JSON.
pub(super) fn plain<K: serde::Serialize>(object: &K) -> Result<Value> {
    serde_json::to_value(object).context("write the object as JSON")
}

/// Makes `ConfigMaps` with a label of the case's own.
pub(super) async fn make_config_maps(target: &Target, names: &[&str]) -> Result<()> {
    for name in names {
        let mut object: ConfigMap = serde_json::from_value(config_map(name, &[("key", "value")]))?;
        object.labels_mut().insert("suite".to_owned(), "contract".to_owned());
        target.config_maps().create(&PostParams::default(), &object).await?;
    }
    Ok(())
}
