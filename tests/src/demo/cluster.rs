//! One cluster of the demo: in memory or real, seen through an unchanged Kubernetes client.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt};
use serde_json::json;
use taffrail_testkit::apiserver::{ApiServer, Options};
use tokio::time::{Instant, sleep};

use crate::harness::wait_for;
use crate::tree::{APP, Overlay};

/// Longest time that a namespace may take to go: finalizers of pods, 30 s each by default.
const GONE_MAX: Duration = Duration::from_mins(2);
/// Between two looks at an object whose way back is timed.
const LOOK: Duration = Duration::from_millis(2);
/// Longest cluster name made from a kubeconfig's context.
const NAME_MAX: usize = 40;

/// A cluster.
pub(super) struct Cluster {
    /// Its name in the fleet.
    pub(super) name: String,
    /// Which variant of the app it gets.
    pub(super) overlay: Overlay,
    /// How it is reached.
    pub(super) kubeconfig: PathBuf,
    client: Client,
    _memory: Option<ApiServer>,
}

/// The Deployment of the app as a cluster has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    /// Image of its first container.
    pub(super) image: String,
    /// Pods that it asks for.
    pub(super) replicas: i64,
    /// Pods that serve.
    pub(super) available: i64,
}

impl Cluster {
    /// A new one in memory, with its kubeconfig in `folder`.
    pub(super) async fn in_memory(name: &str, overlay: Overlay, folder: &Path) -> Result<Cluster> {
        // Whoever watches the demo may look with kubectl, which sends no token over plain HTTP.
        let options = Options { token: String::new(), ..Options::default() };
        let server = ApiServer::start(options).await.context("start an API server in memory")?;
        let kubeconfig = folder.join("kubeconfig");
        fs::write(&kubeconfig, server.kubeconfig()).context("write a kubeconfig")?;
        let client = client(&kubeconfig).await?;
        Ok(Cluster { name: name.to_owned(), overlay, kubeconfig, client, _memory: Some(server) })
    }

    /// One that is there, named by the current context of its kubeconfig unless `taken` has that name.
    pub(super) async fn real(kubeconfig: &Path, overlay: Overlay, taken: &[Cluster]) -> Result<Cluster> {
        let path = kubeconfig.canonicalize().with_context(|| format!("find {}", kubeconfig.display()))?;
        let read = Kubeconfig::read_from(&path).with_context(|| format!("read {}", path.display()))?;
        let mut name = cluster_name(read.current_context.as_deref().unwrap_or_default());
        if taken.iter().any(|other| other.name == name) {
            name = format!("{name}-{}", taken.len() + 1);
        }
        let client = client(&path).await?;
        let version = client.apiserver_version().await;
        version.with_context(|| format!("reach the cluster of {}", path.display()))?;
        Ok(Cluster { name, overlay, kubeconfig: path, client, _memory: None })
    }

    /// The app's Deployment as it is now.
    pub(super) async fn workload(&self, namespace: &str) -> Result<Workload> {
        let deployment = self.deployments(namespace).get(APP).await;
        let deployment = deployment.with_context(|| format!("read the Deployment on {}", self.name))?;
        let spec = deployment.spec;
        let containers = spec.template.spec.unwrap_or_default().containers;
        Ok(Workload {
            image: containers.into_iter().next().and_then(|container| container.image).unwrap_or_default(),
            replicas: spec.replicas.unwrap_or_default().into(),
            available: deployment
                .status
                .and_then(|status| status.available_replicas)
                .unwrap_or_default()
                .into(),
        })
    }

    /// Does what a person does who scales the Deployment by hand, as `manager`, and returns how long it took until the
    /// cluster had `wanted` replicas again.
    pub(super) async fn scaled_by_hand(
        &self,
        namespace: &str,
        manager: &str,
        wanted: i64,
        bound: Duration,
    ) -> Result<Duration> {
        let deployments = self.deployments(namespace);
        let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
        let as_manager = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        let edited = deployments.patch(APP, &as_manager, &patch);
        let edited = edited.await.context("edit the Deployment by hand")?;
        let replicas = edited.spec.replicas;
        ensure!(
            replicas == Some(0),
            "the edit by hand did not take: {} has {replicas:?} replicas",
            edited.name_any()
        );
        let begun = Instant::now();
        while begun.elapsed() < bound {
            if self.workload(namespace).await?.replicas == wanted {
                return Ok(begun.elapsed());
            }
            sleep(LOOK).await;
        }
        anyhow::bail!("{} was not healed within {bound:?}", self.name)
    }

    /// Removes what the demo made: two namespaces and a binding.
    pub(super) async fn clean_up(&self, namespaces: &[&str], binding: &str) -> Result<()> {
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client.clone());
        gone(bindings.delete(binding, &DeleteParams::default()).await)?;
        let all: Api<Namespace> = Api::all(self.client.clone());
        for namespace in namespaces {
            gone(all.delete(namespace, &DeleteParams::default()).await)?;
        }
        for namespace in namespaces {
            let what = format!("the namespace {namespace} of {} is gone", self.name);
            let look = async || Ok(all.get_opt(namespace).await?.is_none().then_some(()));
            wait_for(&what, GONE_MAX, look).await?;
        }
        Ok(())
    }

    fn deployments(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig).context("read a kubeconfig")?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    Client::try_from(config.context("understand a kubeconfig")?).context("make a Kubernetes client")
}

/// What was not there is as good as deleted.
fn gone<T>(deleted: kube::Result<T>) -> Result<()> {
    match deleted {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error).context("clean up"),
    }
}

/// A name of `a-z`, `0-9` and `-` that is as near to a context's name as can be.
fn cluster_name(context: &str) -> String {
    let letter =
        |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    let name: String = context.chars().map(letter).collect();
    let parts: Vec<&str> = name.split('-').filter(|part| !part.is_empty()).collect();
    let name: String = parts.join("-").chars().take(NAME_MAX).collect();
    let name = name.trim_end_matches('-');
    if name.is_empty() { "cluster".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_named_like_their_contexts() {
        for (context, name) in [
            ("kind-lab", "kind-lab"),
            ("arn:aws:eks:eu-1:42:cluster/Prod_EU", "arn-aws-eks-eu-1-42-cluster-prod-eu"),
            ("", "cluster"),
            ("__", "cluster"),
            (&"a-".repeat(30), &"a-".repeat(20)[..39]),
        ] {
            assert_eq!(cluster_name(context), name);
        }
    }
}
