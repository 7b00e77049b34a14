//! The port under test, an administrator beside it, and short ways to speak to both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use taffrail_agent::kube::{
    Access, Api as Port, Applied, ApplyRequest, Clients, Conflicts, Decoration, Kind, Mode, Objects, decorate,
};
use taffrail_core::id::{AppId, CommitId};
use tokio::time::{Instant, sleep};

/// How long a fact may take: real controllers on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_mins(1);
/// Between two looks at a fact.
const PAUSE: Duration = Duration::from_millis(20);
/// Where the agent's own objects are.
pub(super) const HOME: &str = "taffrail-system";

/// A server, the agent's port to it, and a namespace of the case's own.
pub struct Bench {
    /// The port, with the agent's two identities.
    pub port: Port,
    /// A client of an administrator: the people beside the agent.
    pub admin: Client,
    /// A namespace that no other case uses.
    pub namespace: String,
    /// Where the kubeconfig is that everything here came from.
    pub kubeconfig: PathBuf,
}

impl Bench {
    /// Connects as the agent does, and prepares what joining prepares: the agent's namespace, the applier's rights.
    pub async fn prepare(kubeconfig: &Path, case: &str) -> Result<Bench> {
        Bench::prepare_with(Access { kubeconfig: Some(kubeconfig.to_owned()), ..Access::default() }, case)
            .await
    }

    /// The same with other limits.
    pub async fn prepare_with(access: Access, case: &str) -> Result<Bench> {
        let kubeconfig = access.kubeconfig.as_deref().context("a bench needs a kubeconfig")?;
        let clients = Clients::new(&access).await.context("connect as the agent")?;
        let read = Kubeconfig::read_from(kubeconfig).context("read the kubeconfig")?;
        let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        let namespace: String = case.replace('_', "-").chars().take(50).collect();
        let bench = Bench {
            port: Port::new(clients),
            kubeconfig: kubeconfig.to_owned(),
            admin: Client::try_from(config)?,
            namespace: format!("port-{}", namespace.trim_end_matches('-')),
        };
        for name in [HOME, &bench.namespace] {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            bench.edit("admin", object).await.context("make a namespace")?;
        }
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "taffrail-applier"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "taffrail-applier", "namespace": HOME}],
        });
        bench.edit("admin", binding).await.context("give the applier its rights")?;
        let probe = ApplyRequest { mode: Mode::DryRun, ..bench.request(config_map("probe", "a")) };
        eventually("the applier may apply", async || match bench.port.apply(&probe).await {
            Err(error) if error.kind == Kind::Forbidden => Ok(None),
            result => Ok(Some(result?)),
        })
        .await?;
        Ok(bench)
    }

    /// A request that stores the object, decorated as the driver decorates it.
    pub fn request(&self, object: Value) -> ApplyRequest {
        Bench::request_in(&self.namespace, object)
    }

    /// The same in another namespace, none where it is empty.
    pub(super) fn request_in(namespace: &str, object: Value) -> ApplyRequest {
        let app = AppId::parse("shop/payments").expect("an app");
        let commit = CommitId::parse(&"0".repeat(40)).expect("a commit");
        let decoration = Decoration { app: &app, commit: &commit, namespace, home: HOME };
        let object = decorate(object, &decoration);
        ApplyRequest { object, mode: Mode::Store, conflicts: Conflicts::Force, last: None }
    }

    /// Applies an object as the agent.
    pub async fn apply(&self, object: Value) -> Result<Applied> {
        Ok(self.port.apply(&self.request(object)).await?)
    }

    /// Applies an object by force as somebody else, in the case's namespace if it names none and its kind has them.
    pub(super) async fn edit(&self, manager: &str, object: Value) -> Result<Value> {
        self.patch(&PatchParams::apply(manager).force(), &object, &Patch::Apply(&object)).await
    }

    /// Merges a patch into an object as somebody else; the patch names type and name as well.
    pub(super) async fn merge(&self, manager: &str, patch: Value) -> Result<Value> {
        let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        self.patch(&params, &patch, &Patch::Merge(&patch)).await
    }

    async fn patch(&self, params: &PatchParams, object: &Value, patch: &Patch<&Value>) -> Result<Value> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("/kind")));
        let api: Api<DynamicObject> = match text("/kind") {
            "Namespace"
            | "ClusterRoleBinding"
            | "CustomResourceDefinition"
            | "ValidatingAdmissionPolicy"
            | "ValidatingAdmissionPolicyBinding" => Api::all_with(self.admin.clone(), &resource),
            _ => Api::namespaced_with(self.admin.clone(), &self.namespace, &resource),
        };
        Ok(serde_json::to_value(api.patch(text("/metadata/name"), params, patch).await?)?)
    }
}

/// A `ConfigMap` with one value.
pub fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": value}})
}

/// Waits until `look` finds something; fails with `what` after [`LIMIT`].
pub(super) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("not within {LIMIT:?}: {what}");
        }
        sleep(PAUSE).await;
    }
}
