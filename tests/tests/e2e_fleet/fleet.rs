//! One hub, three agents and a Git server over the shared control planes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use taffrail_tests::cluster::{Cluster, Options};
use taffrail_tests::harness::{
    Agent, AgentOptions, Folder, GitServer, Hub, HubOptions, JoinToken, join, wait_for,
};
use taffrail_tests::tree::{APP, Overlay, Tree};
use tokio::sync::OnceCell;

use super::audit::{audit, nobody_is_left};
use super::live::Live;

/// Longest wait for anything that follows from an order: a hundred times what an idle machine takes.
pub(crate) const BOUND: Duration = Duration::from_mins(1);

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
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it gets.
    pub(crate) overlay: Overlay,
    /// Where its apps are delivered to.
    pub(crate) namespace: String,
    /// Its API server.
    pub(crate) live: Live,
    /// Its agent.
    pub(crate) agent: Agent,
    /// What it joined with.
    pub(crate) token: JoinToken,
    /// An administrator's kubeconfig.
    pub(crate) kubeconfig: PathBuf,
}

/// All of it. Dropping it ends the agents, then the hub.
pub(crate) struct Fleet {
    /// Name of the test, in every namespace.
    pub(crate) name: &'static str,
    /// The clusters.
    pub(crate) members: Vec<Member>,
    /// The hub.
    pub(crate) hub: Hub,
    /// The repository.
    pub(crate) git: GitServer,
    /// Where everything is kept.
    pub(crate) folder: Folder,
}

/// What hub and agents are started with beyond the rule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// Settings of the hub.
    pub(crate) hub: &'static [(&'static str, &'static str)],
    /// Settings of each agent.
    pub(crate) agents: &'static [(&'static str, &'static str)],
}

/// Starts a fleet, tells it a story, and looks through what is left at its end.
///
/// # Panics
/// When the story fails; the logs of all parts are shown then.
pub(crate) async fn with_fleet(name: &'static str, story: impl AsyncFnOnce(&mut Fleet) -> Result<()>) {
    with_settings(name, Settings::default(), story).await;
}

/// The same with more settings.
///
/// # Panics
/// When the story fails.
pub(crate) async fn with_settings(
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
        let hub =
            Hub::start(&folder.sub("hub")?, HubOptions { set: owned(settings.hub), ..HubOptions::default() })
                .await?;
        let mut members = Vec::new();
        for ((cluster, overlay), plane) in MEMBERS.into_iter().zip(planes) {
            let token = join(&hub, cluster, &[("overlay", overlay.name())]).await?;
            // A namespace and an account of its own, since all tests share the clusters.
            let mut set = vec![
                ("kube.namespace".to_owned(), format!("taffrail-{name}")),
                ("kube.applier".to_owned(), format!("applier-{name}")),
            ];
            set.extend(owned(settings.agents));
            let kubeconfig = plane.kubeconfig_path();
            let options = AgentOptions { set };
            let agent = Agent::start_with(&folder.sub(cluster)?, &kubeconfig, &hub, &token, options)?;
            let namespace = format!("{name}-{cluster}");
            let live = Live::new(plane.client().await?);
            members.push(Member { name: cluster, overlay, namespace, live, agent, token, kubeconfig });
        }
        Ok(Fleet { name, members, hub, git, folder })
    }

    /// Removes files, pushes and tells the hub; returns the commit.
    pub(crate) async fn push_without(&self, message: &str, paths: &[String]) -> Result<String> {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let commit = self.git.remove(message, &paths)?;
        self.hub.announce(&self.git.url()).await?;
        Ok(commit)
    }

    /// Takes a commit back, pushes and tells the hub; returns the commit that does it.
    pub(crate) async fn revert(&self, commit: &str) -> Result<String> {
        let reverting = self.git.revert(commit)?;
        self.hub.announce(&self.git.url()).await?;
        Ok(reverting)
    }

    /// The cluster of that name.
    pub(crate) fn member(&self, name: &str) -> &Member {
        self.members.iter().find(|member| member.name == name).expect("a member")
    }

    /// The same, to be changed.
    pub(crate) fn member_mut(&mut self, name: &str) -> &mut Member {
        self.members.iter_mut().find(|member| member.name == name).expect("a member")
    }

    /// The sample tree as it looks for one cluster.
    pub(crate) fn tree(&self, member: &Member) -> Tree {
        Tree {
            repo: self.git.url(),
            namespace: member.namespace.clone(),
            clusters: vec![(member.name.to_owned(), member.overlay)],
        }
    }

    /// Every file of the sample tree, a namespace for each cluster.
    pub(crate) fn files(&self, image: &str) -> Vec<(String, String)> {
        let mut files: Vec<(String, String)> =
            self.members.iter().flat_map(|member| self.tree(member).files(image)).collect();
        files.sort();
        files.dedup();
        files
    }

    /// Commits files, pushes and tells the hub; returns the commit.
    pub(crate) async fn push<P: AsRef<str>, T: AsRef<str>>(
        &self,
        message: &str,
        files: &[(P, T)],
    ) -> Result<String> {
        let commit = self.git.commit(message, files)?;
        self.hub.announce(&self.git.url()).await?;
        Ok(commit)
    }

    /// The sample tree, delivered and healthy on all three; returns the commit.
    pub(crate) async fn first_delivery(&self, image: &str) -> Result<String> {
        let commit = self.git.commit("first", &self.files(image))?;
        self.hub.done(&["source", "add", &self.git.url()]).await?;
        for app in [APP, "policies"] {
            self.healthy(app, &commit).await?;
        }
        Ok(commit)
    }

    /// Waits until an app is synced and healthy at a commit on every cluster.
    pub(crate) async fn healthy(&self, app: &str, commit: &str) -> Result<()> {
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
    pub(crate) async fn synced(&self, app: &str, commit: &str) -> Result<()> {
        for member in &self.members {
            let fact = |it: &Value| it["sync"] == "Synced" && it["runningCommit"] == commit;
            self.instance(app, member.name, &format!("is synced at {commit}"), fact).await?;
        }
        Ok(())
    }

    /// Waits until one instance of an app is as asked, and returns it.
    pub(crate) async fn instance(
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
    pub(crate) async fn instances(&self, app: &str) -> Result<Vec<Value>> {
        let mut shown = self.hub.json(&["get", "app", app]).await?;
        match shown["instances"].take() {
            Value::Array(instances) => Ok(instances),
            other => anyhow::bail!("taffrail get app has no instances but {other}"),
        }
    }

    /// Waits until the log holds an event with these filters for which `fact` holds, and returns it.
    pub(crate) async fn event(&self, filter: &[&str], fact: impl Fn(&Value) -> bool) -> Result<Value> {
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
