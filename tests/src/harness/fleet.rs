//! One hub, three agents and a Git server over the shared control planes.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::api::Gate;
use super::audit::{audit, nobody_is_left};
use super::live::Live;
use super::{
    Agent, AgentOptions, Folder, GitServer, Hub, HubOptions, JoinToken, Network, Proxy, ShiftedClock, join,
    wait_for,
};
use crate::cluster::{Cluster, Options};
use crate::tree::{APP, Overlay, Tree};

/// Longest wait for anything that follows from an order: a hundred times what an idle machine takes.
pub const BOUND: Duration = Duration::from_mins(1);

/// The clusters and what each gets.
const MEMBERS: [(&str, Overlay); 3] =
    [("lab", Overlay::Staging), ("eu-1", Overlay::Production), ("us-1", Overlay::Production)];

/// The control planes. They end with the process.
async fn control_planes() -> Result<&'static [Cluster]> {
    static SHARED: OnceCell<Vec<Cluster>> = OnceCell::const_new();
    let start = || Cluster::start_many(MEMBERS.len(), Options::default());
    SHARED.get_or_try_init(start).await.map(Vec::as_slice)
}

/// A cluster of the fleet.
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What it gets.
    pub overlay: Overlay,
    /// Where its apps are delivered to.
    pub namespace: String,
    /// Its API server.
    pub live: Live,
    /// Its agent.
    pub agent: Agent,
    /// What it joined with.
    pub token: JoinToken,
    /// An administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The network between it and the hub, if that was asked for.
    pub routes: Option<Routes>,
    /// What stands between its agent and its API server, if that was asked for.
    pub api: Option<Gate>,
    /// Its agent's clock, if it can be set.
    pub clock: Option<ShiftedClock>,
}

/// Everything between one agent and the hub.
#[derive(Debug)]
pub struct Routes {
    https: Proxy,
    nats: Proxy,
}

impl Routes {
    /// Changes the network from now on.
    pub fn set(&self, network: Network) {
        self.https.set(network);
        self.nats.set(network);
    }
}

impl Member {
    /// The network between it and the hub.
    ///
    /// # Errors
    /// The fleet was started without.
    pub fn routes(&self) -> Result<&Routes> {
        self.routes.as_ref().context("this fleet has no proxies")
    }
}

/// All of it. Dropping it ends the agents, then the hub.
pub struct Fleet {
    /// Name of the test, in every namespace.
    pub name: &'static str,
    /// The clusters.
    pub members: Vec<Member>,
    /// The hub.
    pub hub: Hub,
    /// The repository.
    pub git: GitServer,
    /// Where everything is kept.
    pub folder: Folder,
    /// What hub and agents were started with beyond the rule.
    pub settings: Settings,
    /// The hub's clock, if it can be set.
    pub clock: Option<ShiftedClock>,
}

/// What hub and agents are started with beyond the rule.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Settings of the hub.
    pub hub: &'static [(&'static str, &'static str)],
    /// Settings of each agent.
    pub agents: &'static [(&'static str, &'static str)],
    /// Whether each agent reaches its API server through a proxy of its own, which then makes its chance of this seed.
    pub api: Option<u64>,
    /// Whether hub and agents go by clocks that can be set.
    pub clocks: bool,
    /// Errors that may stand in the log of hub and agents, because the story causes them.
    pub meant: &'static [&'static str],
    /// Whether each agent reaches the hub through proxies of its own, which then make their chance of this seed.
    pub routed: Option<u64>,
}

/// Starts a fleet, tells it a story, and looks through what is left at its end.
///
/// # Panics
/// When the story fails; the logs of all parts are shown then.
pub async fn tell(name: &'static str, story: impl AsyncFnOnce(&mut Fleet) -> Result<()>) {
    tell_with(name, Settings::default(), story).await;
}

/// The same with more settings.
///
/// # Panics
/// When the story fails.
pub async fn tell_with(
    name: &'static str,
    settings: Settings,
    story: impl AsyncFnOnce(&mut Fleet) -> Result<()>,
) {
    let mut fleet = Fleet::start(name, settings).await.expect("a fleet");
    let mut told = story(&mut fleet).await;
    if told.is_ok() {
        told = audit(&fleet).await.context("look through the log at the end");
    }
    if let Err(error) = told {
        panic!("{name}: {error:?}");
    }
    let folder = fleet.folder.path().to_owned();
    drop(fleet);
    nobody_is_left(&folder).await.expect("an end");
}

impl Fleet {
    async fn start(name: &'static str, settings: Settings) -> Result<Fleet> {
        let planes = control_planes().await.context("start control planes")?;
        let folder = Folder::new(name)?;
        let git = GitServer::start(&folder, name).await?;
        let clock = settings.clocks.then(|| ShiftedClock::new(&folder.sub("hub")?)).transpose()?;
        let set = owned(settings.hub);
        let options = HubOptions { set, clock: clock.clone(), ..HubOptions::default() };
        let hub = Hub::start(&folder.sub("hub")?, options).await?;
        let mut fleet = Fleet { name, members: Vec::new(), hub, git, folder, settings, clock };
        for ((cluster, overlay), plane) in MEMBERS.into_iter().zip(planes) {
            fleet.join(cluster, overlay, plane).await.with_context(|| format!("let {cluster} join"))?;
        }
        Ok(fleet)
    }

    /// Lets one more cluster join.
    ///
    /// # Errors
    /// The hub refuses, or the agent does not start.
    pub async fn join(&mut self, name: &'static str, overlay: Overlay, plane: &Cluster) -> Result<()> {
        let mut set = self.agent_settings();
        let Fleet { name: story, hub, folder, settings, .. } = self;
        let token = join(hub, name, &[("overlay", overlay.name())]).await?;
        let mut routes = None;
        if let Some(seed) = settings.routed {
            let https: SocketAddr = hub.address().context("find the hub's address")?;
            let way = Routes {
                https: Proxy::start(https, seed).await?,
                nats: Proxy::start(hub.nats_address()?, seed ^ 0x4A75).await?,
            };
            set.push(("hub.url".to_owned(), format!("https://localhost:{}", way.https.address().port())));
            routes = Some(way);
        }
        let (mut kubeconfig, namespace) = (plane.kubeconfig_path(), format!("{story}-{name}"));
        let mut api = None;
        if let Some(seed) = settings.api {
            let proxy = Gate::start(&kubeconfig, seed).await?;
            kubeconfig = folder.sub(name)?.join("kubeconfig");
            proxy.write_kubeconfig(&kubeconfig)?;
            api = Some(proxy);
        }
        let clock = settings.clocks.then(|| ShiftedClock::new(&folder.sub(name)?)).transpose()?;
        let options = AgentOptions { set, clock: clock.clone() };
        let mut agent = Agent::start_with(&folder.sub(name)?, &kubeconfig, hub, &token, options)?;
        if let Some(routes) = &routes {
            agent.reroute(routes.nats.address()).await?;
        }
        let live = Live::new(plane.client().await?);
        self.members.push(Member {
            name,
            overlay,
            namespace,
            live,
            agent,
            token,
            kubeconfig,
            routes,
            api,
            clock,
        });
        Ok(())
    }

    /// One more agent with the identity of a member and a disk of its own, as a second pod of a `DaemonSet` is.
    ///
    /// # Errors
    /// The agent does not start.
    pub fn twin(&self, cluster: &str) -> Result<Agent> {
        let folder = self.disk(cluster, "twin", |name| name == "identity.json")?;
        self.second(cluster, &folder)
    }

    /// A copy of the disk of a member's agent, which must not run, to be given to [`Fleet::second`].
    ///
    /// # Errors
    /// The file system refuses.
    pub fn copied_disk(&self, cluster: &str) -> Result<PathBuf> {
        self.disk(cluster, "copy", |_| true)
    }

    fn disk(&self, cluster: &str, name: &str, takes: impl Fn(&str) -> bool) -> Result<PathBuf> {
        let folder = self.folder.sub(&format!("{cluster}-{name}"))?;
        let (from, to) = (self.member(cluster).agent.state_folder(), folder.join("state"));
        fs::create_dir_all(&to).context("make an agent's folder")?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o700)).context("protect an agent's folder")?;
        for entry in fs::read_dir(&from).context("read an agent's folder")? {
            let file = entry?.file_name();
            if takes(&file.to_string_lossy()) {
                fs::copy(from.join(&file), to.join(&file)).context("copy an agent's file")?;
            }
        }
        Ok(folder)
    }

    /// One more agent for the cluster of a member, with its state in a folder.
    ///
    /// # Errors
    /// The agent does not start.
    pub fn second(&self, cluster: &str, folder: &Path) -> Result<Agent> {
        let member = self.member(cluster);
        let options = AgentOptions { set: self.agent_settings(), clock: None };
        Agent::start_with(folder, &member.kubeconfig, &self.hub, &member.token, options)
    }

    /// What every agent is started with. A namespace and an account of its own, since all tests share the clusters.
    fn agent_settings(&self) -> Vec<(String, String)> {
        let mut set = vec![
            ("kube.namespace".to_owned(), format!("taffrail-{}", self.name)),
            ("kube.applier".to_owned(), format!("applier-{}", self.name)),
        ];
        set.extend(owned(self.settings.agents));
        set
    }

    /// Removes files, pushes and tells the hub; returns the commit.
    ///
    /// # Errors
    /// Git or the hub refuses.
    pub async fn push_without(&self, message: &str, paths: &[String]) -> Result<String> {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let commit = self.git.remove(message, &paths)?;
        self.hub.announce(&self.git.url()).await?;
        Ok(commit)
    }

    /// Takes a commit back, pushes and tells the hub; returns the commit that does it.
    ///
    /// # Errors
    /// Git or the hub refuses.
    pub async fn revert(&self, commit: &str) -> Result<String> {
        let reverting = self.git.revert(commit)?;
        self.hub.announce(&self.git.url()).await?;
        Ok(reverting)
    }

    /// The cluster of that name.
    ///
    /// # Panics
    /// There is none.
    pub fn member(&self, name: &str) -> &Member {
        self.members.iter().find(|member| member.name == name).expect("a member")
    }

    /// The same, to be changed.
    ///
    /// # Panics
    /// There is none.
    pub fn member_mut(&mut self, name: &str) -> &mut Member {
        self.members.iter_mut().find(|member| member.name == name).expect("a member")
    }

    /// The sample tree as it looks for one cluster.
    pub fn tree(&self, member: &Member) -> Tree {
        Tree {
            repo: self.git.url(),
            namespace: member.namespace.clone(),
            clusters: vec![(member.name.to_owned(), member.overlay)],
        }
    }

    /// Every file of the sample tree, a namespace for each cluster.
    pub fn files(&self, image: &str) -> Vec<(String, String)> {
        let mut files: Vec<(String, String)> =
            self.members.iter().flat_map(|member| self.tree(member).files(image)).collect();
        files.sort();
        files.dedup();
        files
    }

    /// Commits files, pushes and tells the hub; returns the commit.
    ///
    /// # Errors
    /// Git or the hub refuses.
    pub async fn push<P: AsRef<str>, T: AsRef<str>>(
        &self,
        message: &str,
        files: &[(P, T)],
    ) -> Result<String> {
        let commit = self.git.commit(message, files)?;
        self.hub.announce(&self.git.url()).await?;
        Ok(commit)
    }

    /// The sample tree, delivered and healthy on all three; returns the commit.
    ///
    /// # Errors
    /// It did not arrive within the bound.
    pub async fn first_delivery(&self, image: &str) -> Result<String> {
        let commit = self.git.commit("first", &self.files(image))?;
        self.hub.done(&["source", "add", &self.git.url()]).await?;
        for app in [APP, "policies"] {
            self.healthy(app, &commit).await?;
        }
        Ok(commit)
    }

    /// Waits until an app is synced and healthy at a commit on every cluster.
    ///
    /// # Errors
    /// It is not within the bound.
    pub async fn healthy(&self, app: &str, commit: &str) -> Result<()> {
        let what = format!("{app} is healthy everywhere at {commit}");
        wait_for(&what, BOUND, async || {
            let instances = self.instances(app).await?;
            ensure!(instances.len() == self.members.len(), "{app} has {} instances", instances.len());
            let is_there = |it: &Value| {
                it["sync"] == "Synced" && it["health"] == "Healthy" && it["runningCommit"] == commit
            };
            if let Some(other) = instances.iter().find(|it| !is_there(it)) {
                anyhow::bail!("{}", brief(other));
            }
            Ok(Some(()))
        })
        .await
    }

    /// Waits until an app is synced at a commit on every cluster, whatever its health.
    ///
    /// # Errors
    /// It is not within the bound.
    pub async fn synced(&self, app: &str, commit: &str) -> Result<()> {
        for member in &self.members {
            let fact = |it: &Value| it["sync"] == "Synced" && it["runningCommit"] == commit;
            self.instance(app, member.name, &format!("is synced at {commit}"), fact).await?;
        }
        Ok(())
    }

    /// Waits until one instance of an app is as asked, and returns it.
    ///
    /// # Errors
    /// It is not within the bound.
    pub async fn instance(
        &self,
        app: &str,
        cluster: &str,
        what: &str,
        fact: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        wait_for(&format!("{app} on {cluster}: {what}"), BOUND, async || {
            let found = self.instances(app).await?.into_iter().find(|it| it["cluster"] == cluster);
            let found = found.context("there is no such instance")?;
            ensure!(fact(&found), "{}", brief(&found));
            Ok(Some(found))
        })
        .await
    }

    /// All instances of an app, as `taffrail get app` shows them.
    ///
    /// # Errors
    /// The hub cannot be asked.
    pub async fn instances(&self, app: &str) -> Result<Vec<Value>> {
        let mut shown = self.hub.json(&["get", "app", app]).await?;
        match shown["instances"].take() {
            Value::Array(instances) => Ok(instances),
            other => anyhow::bail!("taffrail get app has no instances but {other}"),
        }
    }

    /// Waits until the log holds an event with these filters for which `fact` holds, and returns it.
    ///
    /// # Errors
    /// There is none within the bound.
    pub async fn event(&self, filter: &[&str], fact: impl Fn(&Value) -> bool) -> Result<Value> {
        wait_for(&format!("an event {}", filter.join(" ")), BOUND, async || {
            let events = self.hub.events(filter).await?;
            let found = events.iter().find(|event| fact(event)).cloned();
            ensure!(found.is_some(), "not among {} events: {}", events.len(), Value::from(events));
            Ok(found)
        })
        .await
    }
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// What is worth reading of an instance in an error.
fn brief(instance: &Value) -> String {
    let of = |key: &str| format!("{key} {}", instance[key]);
    ["cluster", "sync", "health", "runningCommit", "desiredCommit", "parkedReason", "causes"]
        .map(of)
        .join(", ")
}
