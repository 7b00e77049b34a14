//! The parts of the demo: a hub, a Git host, clusters with their agents; built, and taken down again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use ring::rand::{SecureRandom, SystemRandom};

use super::cluster::Cluster;
use super::screen::Screen;
use crate::harness::{Agent, AgentOptions, Folder, GitServer, Hub, HubOptions, join, program};
use crate::tree::{APP, Overlay, Tree};

/// The clusters in memory.
const CLUSTERS: [(&str, Overlay); 5] = [
    ("ap-1", Overlay::Production),
    ("eu-1", Overlay::Production),
    ("eu-2", Overlay::Production),
    ("lab", Overlay::Staging),
    ("us-1", Overlay::Production),
];
/// Images of the app: an invented one for clusters in memory, and one that every real cluster can pull and that needs
/// nothing; the last tag was never pushed.
const INVENTED: Images = Images {
    first: "registry.example/payments-api:1.4.0",
    second: "registry.example/payments-api:1.5.0",
    missing: "registry.example/payments-api:1.6.0-does-not-exist",
};
const PULLABLE: Images = Images {
    first: "registry.k8s.io/pause:3.9",
    second: "registry.k8s.io/pause:3.10",
    missing: "registry.k8s.io/pause:3.10-does-not-exist",
};

/// Images that the story delivers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Images {
    /// Of the first delivery.
    pub(super) first: &'static str,
    /// The new version.
    pub(super) second: &'static str,
    /// One that nobody pushed.
    pub(super) missing: &'static str,
}

/// Everything that the story needs.
pub(super) struct Stage {
    /// Namespace that the app is delivered to.
    pub(super) namespace: String,
    /// Images of the app.
    pub(super) images: Images,
    /// Longest time that a step may take.
    pub(super) bound: Duration,
    /// The clusters, by name.
    pub(super) clusters: Vec<Cluster>,
    kubeconfigs: Vec<PathBuf>,
    // Agents first, so that none is left without its hub and none heals while it is cleaned up.
    agents: Vec<Agent>,
    hub: Option<Hub>,
    git: Option<GitServer>,
    folder: Folder,
}

impl Stage {
    /// An empty stage.
    pub(super) fn new(kubeconfigs: &[PathBuf]) -> Result<Stage> {
        // Before anything starts: a missing program is said at once.
        for name in ["taffrail-hub", "taffrail-agent", "taffrail"] {
            program(name)?;
        }
        let is_real = !kubeconfigs.is_empty();
        Ok(Stage {
            namespace: if is_real { format!("taffrail-demo-{}", suffix()?) } else { "payments".to_owned() },
            images: if is_real { PULLABLE } else { INVENTED },
            bound: Duration::from_secs(if is_real { 180 } else { 30 }),
            clusters: Vec::new(),
            kubeconfigs: kubeconfigs.to_vec(),
            agents: Vec::new(),
            hub: None,
            git: None,
            folder: Folder::new("demo")?,
        })
    }

    /// The hub.
    pub(super) fn hub(&self) -> Result<&Hub> {
        self.hub.as_ref().context("there is no hub")
    }

    /// The Git host.
    pub(super) fn git(&self) -> Result<&GitServer> {
        self.git.as_ref().context("there is no Git host")
    }

    /// The sample tree, filled in for this stage.
    pub(super) fn tree(&self) -> Result<Tree> {
        let clusters = self.clusters.iter().map(|cluster| (cluster.name.clone(), cluster.overlay)).collect();
        Ok(Tree { repo: self.git()?.url(), namespace: self.namespace.clone(), clusters })
    }

    /// Where the logs stay when the stage is struck.
    pub(super) fn keep(&mut self) -> &Path {
        self.folder.keep();
        self.folder.path()
    }

    /// Builds everything: the hub, the Git host with a first commit, the clusters with agents that have joined.
    pub(super) async fn build(&mut self, screen: &mut Screen) -> Result<()> {
        let place = if self.is_real() {
            format!("on {} of your clusters, in the namespace {}", self.kubeconfigs.len(), self.namespace)
        } else {
            "one hub, one Git repository, five clusters in memory; nothing leaves this machine".to_owned()
        };
        screen.title("Taffrail", &place);
        let begun = Instant::now();
        screen.progress("starting the hub", begun.elapsed());
        let folder = self.folder.sub("hub")?;
        let (hub, clusters) =
            tokio::try_join!(Hub::start(&folder, HubOptions::default()), self.make_clusters())?;
        self.hub = Some(hub);
        self.clusters = clusters;
        screen.good("hub with its own NATS server, everything over TLS", Some(begun.elapsed()));

        let begun = Instant::now();
        self.git = Some(GitServer::start(&self.folder, "fleet").await?);
        let files = self.tree()?.files(self.images.first);
        let git = self.git()?;
        git.commit(&subject(self.images.first), &files)?;
        git.work.git(&["branch", "--quiet", "--set-upstream-to=origin/main"]).context("follow the origin")?;
        screen.good(
            &format!("Git repository over http, {} files: apps, clusters, policies", files.len()),
            Some(begun.elapsed()),
        );

        let begun = Instant::now();
        let names: Vec<&str> = self.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        let told = format!("{} clusters joined, each with an agent: {}", names.len(), names.join(" "));
        screen.progress("clusters join", begun.elapsed());
        let invited = self.clusters.iter().map(|cluster| self.start_agent(cluster));
        self.agents = try_join_all(invited).await?;
        self.wait_for_joins(screen, begun).await?;
        screen.good(&told, Some(begun.elapsed()));
        Ok(())
    }

    /// Takes everything down; real clusters are left as they were found.
    pub(super) async fn strike(mut self, screen: &mut Screen) -> Result<()> {
        self.agents.clear();
        if self.is_real() && !self.clusters.is_empty() {
            let begun = Instant::now();
            screen.progress("cleaning up", begun.elapsed());
            let home = self.home();
            let namespaces = [self.namespace.as_str(), home.as_str()];
            let done = try_join_all(
                self.clusters.iter().map(|cluster| cluster.clean_up(&namespaces, &self.namespace)),
            );
            done.await.with_context(|| {
                format!("clean up; what is left: kubectl delete namespace {} {home}", self.namespace)
            })?;
            screen.good("your clusters are as they were", Some(begun.elapsed()));
        }
        Ok(())
    }

    /// Commands to try while everything is up, and what each is for.
    pub(super) fn hints(&self) -> Result<Vec<(String, &'static str)>> {
        let programs = program("taffrail")?;
        let folder = programs.parent().unwrap_or(Path::new("."));
        let cluster = self.clusters.first().map_or("", |cluster| cluster.name.as_str());
        let kubeconfig = self.clusters.first().map_or(Path::new(""), |cluster| &cluster.kubeconfig);
        let namespace = &self.namespace;
        Ok(vec![
            (format!("export PATH={}:$PATH", folder.display()), ""),
            (format!("export TAFFRAIL_CONFIG={}", self.hub()?.context_file().display()), ""),
            ("taffrail get apps".to_owned(), "the fleet, and how old the news is"),
            (format!("taffrail get app {APP} -o tree"), "down to every object"),
            ("taffrail log -f".to_owned(), "everything that happens, as it happens"),
            (
                format!(
                    "kubectl --kubeconfig {} -n {namespace} delete deployment {APP}",
                    kubeconfig.display()
                ),
                "and see it come back",
            ),
            (format!("taffrail describe cluster {cluster}"), ""),
            (format!("cd {}", self.git()?.work.folder().display()), "the repository: commit, push, watch"),
        ])
    }

    fn is_real(&self) -> bool {
        !self.kubeconfigs.is_empty()
    }

    /// The agents' own namespace on real clusters: not the usual one, where another agent may live.
    fn home(&self) -> String {
        format!("{}-agent", self.namespace)
    }

    async fn make_clusters(&self) -> Result<Vec<Cluster>> {
        let mut clusters: Vec<Cluster> = Vec::new();
        if self.is_real() {
            for (number, kubeconfig) in self.kubeconfigs.iter().enumerate() {
                // One of several is the laboratory, so that the story shows both variants.
                let is_lab = number > 0 && number + 1 == self.kubeconfigs.len();
                let overlay = if is_lab { Overlay::Staging } else { Overlay::Production };
                clusters.push(Cluster::real(kubeconfig, overlay, &clusters).await?);
            }
        } else {
            for (name, overlay) in CLUSTERS {
                clusters.push(Cluster::in_memory(name, overlay, &self.folder.sub(name)?).await?);
            }
        }
        clusters.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(clusters)
    }

    async fn start_agent(&self, cluster: &Cluster) -> Result<Agent> {
        let folder = self.folder.sub(&cluster.name)?;
        let hub = self.hub()?;
        let token = join(hub, &cluster.name, &[("tier", cluster.overlay.name())]).await?;
        let mut options = AgentOptions::default();
        if self.is_real() {
            options.set = vec![
                ("kube.namespace".to_owned(), self.home()),
                ("kube.applier".to_owned(), self.namespace.clone()),
            ];
        }
        Agent::start_with(&folder, &cluster.kubeconfig, hub, &token, options)
    }

    async fn wait_for_joins(&mut self, screen: &mut Screen, begun: Instant) -> Result<()> {
        let end = begun + self.bound;
        loop {
            for (agent, cluster) in self.agents.iter_mut().zip(&self.clusters) {
                let ended = agent.ended()?;
                let log = agent.log_file();
                ensure!(ended.is_none(), "the agent of {} ended: see {}", cluster.name, log.display());
            }
            let list = self.hub()?.json(&["get", "clusters"]).await?;
            let rows = list["items"].as_array().cloned().unwrap_or_default();
            let joined = rows.iter().filter(|row| row["connection"] == "Connected").count();
            if joined == self.clusters.len() {
                return Ok(());
            }
            screen.progress(&format!("{joined} of {} clusters joined", self.clusters.len()), begun.elapsed());
            ensure!(Instant::now() < end, "not within {:?}: every cluster has joined: {list}", self.bound);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The subject line of a commit that delivers an image.
pub(super) fn subject(image: &str) -> String {
    format!("{APP} {}", image.rsplit(':').next().unwrap_or_default())
}

/// Six characters that no other demo has.
fn suffix() -> Result<String> {
    let mut bytes = [0; 4];
    SystemRandom::new().fill(&mut bytes[1..]).ok().context("ask the system for random bytes")?;
    Ok(format!("{:06x}", u32::from_be_bytes(bytes)))
}
