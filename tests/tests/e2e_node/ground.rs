//! A node, a hub and a Git server, and the ways to see what they do.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};
use serde_json::Value;
use taffrail_tests::cluster::{Image, Node, Programs};
use taffrail_tests::harness::{Folder, GitServer, Hub, HubOptions, in_order, wait_for};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Longest wait for anything that follows from an order: ten times what a busy machine takes.
pub(crate) const BOUND: Duration = Duration::from_mins(1);
/// Longest time for one question to a pod's probes.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// The cluster that joins.
pub(crate) const CLUSTER: &str = "lab";
/// The agent's namespace, as the YAML says.
pub(crate) const HOME: &str = "taffrail-system";
/// The program of the tests that containers run.
pub(crate) const PART: &str = concat!("taffrail.dev/part:", env!("CARGO_PKG_VERSION"));

/// All of it. Dropping it ends the hub, then the node.
pub(crate) struct Ground {
    /// The hub, which pods reach at the node's address of this machine.
    pub(crate) hub: Hub,
    /// The repository.
    pub(crate) git: GitServer,
    /// An administrator.
    pub(crate) client: Client,
    /// Where everything is kept.
    pub(crate) folder: Folder,
    /// The node.
    pub(crate) node: Node,
}

/// Starts it all, tells a story, and looks through what is left at its end.
///
/// # Panics
/// When the story fails; the logs of all parts are shown then.
pub(crate) async fn with_ground(name: &str, story: impl AsyncFnOnce(&Ground) -> Result<()>) {
    let ground = Ground::start(name).await.expect("a node and a hub");
    if let Err(error) = story(&ground).await {
        for log in ground.node.pod_logs(HOME).unwrap_or_default() {
            eprintln!("--- {}\n{}", log.display(), fs::read_to_string(&log).unwrap_or_default());
        }
        ground.tell().await;
        panic!("{name}: {error:?}");
    }
    let node = ground.node.path().to_owned();
    let block = ground.node.host().to_string();
    drop(ground);
    nothing_is_left(&node, block.trim_end_matches(".1")).expect("an end");
}

impl Ground {
    async fn start(name: &str) -> Result<Ground> {
        let folder = Folder::new(name)?;
        let node = Node::start(name).await?;
        let agent = Image::build("agent", folder.path()).await?;
        node.import(&agent).await?;
        fs::remove_file(&agent.archive).context("remove the archive")?;
        let git = GitServer::start(&folder, name).await?;
        let options = HubOptions { reach: Some(node.host()), ..HubOptions::default() };
        let hub = Hub::start(&folder.sub("hub")?, options).await?;
        let client = node.cluster().client().await?;
        Ok(Ground { hub, git, client, folder, node })
    }

    /// Shows what the hub and the API server know, beside a failure.
    async fn tell(&self) {
        let log = self.hub.done(&["log", "-o", "wide"]).await;
        eprintln!("--- taffrail log\n{}", log.unwrap_or_else(|error| format!("{error:#}")));
        for kind in ["pods", "events"] {
            let all = self.kubectl(&["get", kind, "--all-namespaces", "-o", "wide"], "").await;
            eprintln!("--- {kind}\n{}", all.unwrap_or_else(|error| format!("{error:#}")));
        }
    }

    /// Runs `kubectl` as an administrator.
    pub(crate) async fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut child = Command::new(Programs::find().kubectl()?)
            .arg("--kubeconfig")
            .arg(self.node.cluster().kubeconfig_path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start kubectl")?;
        child.stdin.take().context("kubectl takes input")?.write_all(input.as_bytes()).await?;
        let output = child.wait_with_output().await.context("run kubectl")?;
        let (said, wrong) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "kubectl {}: {wrong}", arguments.join(" "));
        Ok(said.into_owned())
    }

    /// Lets the cluster join: what `taffrail cluster join` prints goes to `kubectl apply`, not a byte changed.
    pub(crate) async fn install(&self, more: &[&str]) -> Result<()> {
        let image = concat!("taffrail.dev/agent:", env!("CARGO_PKG_VERSION"));
        let arguments = [&["cluster", "join", CLUSTER, "--image", image], more].concat();
        let yaml = self.hub.done(&arguments).await?;
        self.kubectl(&["apply", "-f", "-"], &yaml).await?;
        Ok(())
    }

    /// The agent's pods.
    pub(crate) fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Waits until an agent's pod other than `before` is ready, which it is once it holds an index.
    pub(crate) async fn agent(&self, before: &str) -> Result<Pod> {
        wait_for("the agent's pod is ready", BOUND, async || {
            let pods = self.pods(HOME).list(&ListParams::default()).await?.items;
            let states = serde_json::to_string(&pods.iter().map(|pod| &pod.status).collect::<Vec<_>>())?;
            let found = pods.into_iter().find(|pod| name(pod) != before && is_ready(pod));
            ensure!(found.is_some(), "the pods are {states}");
            Ok(found)
        })
        .await
    }

    /// Commits files, pushes and tells the hub; returns the commit.
    pub(crate) async fn push(&self, message: &str, files: &[(String, String)]) -> Result<String> {
        let commit = self.git.commit(message, files)?;
        self.hub.announce(&self.git.url()).await?;
        Ok(commit)
    }

    /// Declares the repository, which must have a commit.
    pub(crate) async fn follow(&self) -> Result<()> {
        self.hub.done(&["source", "add", &self.git.url()]).await?;
        Ok(())
    }

    /// The instance of an app, as `taffrail get app` shows it.
    pub(crate) async fn instance(&self, app: &str) -> Result<Value> {
        let mut shown = self.hub.json(&["get", "app", app]).await?;
        shown["instances"].get_mut(0).map(Value::take).context("the app has no instance")
    }

    /// Waits until an app is as asked.
    pub(crate) async fn until(&self, app: &str, what: &str, fact: impl Fn(&Value) -> bool) -> Result<Value> {
        wait_for(&format!("{app} {what}"), BOUND, async || {
            let found = self.instance(app).await?;
            ensure!(fact(&found), "it is {found}");
            Ok(Some(found))
        })
        .await
    }

    /// Waits until an app is healthy at a commit.
    pub(crate) async fn healthy(&self, app: &str, commit: &str) -> Result<()> {
        let fact =
            |it: &Value| it["sync"] == "Synced" && it["health"] == "Healthy" && it["runningCommit"] == commit;
        self.until(app, &format!("is healthy at {commit}"), fact).await.map(drop)
    }

    /// What must hold at the end: every event that the agent counted is in the log once and in order, and nobody complains.
    pub(crate) async fn audit(&self) -> Result<()> {
        let pod = self.agent("").await?;
        let what = "the agent has a receipt for each event, and the log as many";
        wait_for(what, BOUND, async || {
            let (stated, receipted) =
                (metric(&pod, "events").await?, metric(&pod, "events_receipted").await?);
            let chains = in_order(&self.hub.events(&[]).await?)?;
            let logged = chains.iter().next_back().map(|(_, last)| *last);
            ensure!(
                stated == receipted && Some(stated) == logged,
                "{stated} events, {receipted} receipts, {logged:?} logged"
            );
            Ok(Some(()))
        })
        .await?;
        let check = self.hub.cli(&["check", "-o", "json"]).await?;
        ensure!(check.code == 0, "taffrail check: {}{}", check.stdout, check.stderr);
        for log in self.node.pod_logs(HOME)?.into_iter().chain([self.hub.log_file()]) {
            let text = fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?;
            let bad = text.lines().find(|line| line.contains("panicked at") || line.contains("ERROR"));
            ensure!(bad.is_none(), "{}: {}", log.display(), bad.unwrap_or_default());
        }
        Ok(())
    }
}

/// The name of a pod.
pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// Whether a pod is ready and not about to end.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| &status.conditions).flatten();
    let ready = conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// A number of an agent's `/metrics`, asked at its pod's address.
pub(crate) async fn metric(pod: &Pod, name: &str) -> Result<u64> {
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
    let url = format!("http://{}:8081/metrics", address.context("the pod has an address")?);
    let client = reqwest::Client::builder().timeout(PROBE_MAX).no_proxy().build()?;
    let text = client.get(&url).send().await?.text().await?;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("taffrail_agent_{name} ")));
    line.context("there is no such metric")?.parse().context("read a metric")
}

/// A root of the cluster that delivers these apps, each from `apps/NAME` to a namespace.
pub(crate) fn root(repo: &str, apps: &[(&str, &str)]) -> Vec<(String, String)> {
    let app = |(app, namespace): &(&str, &str)| {
        format!(
            "apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {{name: {app}}}
spec:
  project: default
  source: {{repoURL: '{repo}', path: apps/{app}, targetRevision: main}}
  destination: {{server: 'https://kubernetes.default.svc', namespace: {namespace}}}
  syncPolicy:
    automated: {{prune: true, selfHeal: true}}
    syncOptions: [CreateNamespace=true]
---
"
        )
    };
    let list = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [apps.yaml]\n";
    vec![
        (format!("clusters/{CLUSTER}/kustomization.yaml"), list.to_owned()),
        (format!("clusters/{CLUSTER}/apps.yaml"), apps.iter().map(app).collect()),
    ]
}

/// An app of one Deployment whose container is `container` (the rest of a flow mapping), and what else it has.
pub(crate) fn workload(app: &str, replicas: u32, pod: &str, container: &str) -> (String, String) {
    let text = format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {app}}}
spec:
  replicas: {replicas}
  minReadySeconds: 1
  selector: {{matchLabels: {{app: {app}}}}}
  template:
    metadata: {{labels: {{app: {app}}}, annotations: {{version: '{pod}'}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: main, {container}}}]
"
    );
    (format!("apps/{app}/workload.yaml"), text)
}

/// Neither processes, nor interfaces, nor cgroups of a node that has ended.
fn nothing_is_left(folder: &Path, block: &str) -> Result<()> {
    let folder = folder.to_string_lossy().into_owned();
    for entry in fs::read_dir("/proc")?.flatten() {
        // A process that ends while it is looked at has no command line.
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        ensure!(!command.contains(&folder), "{} runs", command.replace('\0', " "));
    }
    ensure!(!Path::new(&folder).exists(), "{folder} is there");
    let mounts = fs::read_to_string("/proc/self/mounts").context("list mounts")?;
    ensure!(!mounts.contains(&folder), "something is mounted below {folder}");
    let routes = fs::read_to_string("/proc/net/fib_trie").context("list addresses")?;
    ensure!(!routes.contains(&format!("{block}.1\n")), "the addresses {block} are still there");
    for hierarchy in fs::read_dir("/sys/fs/cgroup").context("list cgroups")?.flatten() {
        let group = format!("taffrail-node-{block}");
        let found = hierarchy.path().join(&group).exists() || hierarchy.file_name() == *group;
        ensure!(!found, "the cgroup {group} is in {}", hierarchy.path().display());
    }
    Ok(())
}
