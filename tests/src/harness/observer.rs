//! What a person was told while something went wrong, and whether it was true then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Cli;
use super::fleet::Fleet;
use super::live::Live;
use super::load::{Commits, Load, NAME};

/// Between two questions for the status.
const PAUSE: Duration = Duration::from_millis(250);
/// How late the observer may learn of what is true, since a watch has a way to go on a busy machine.
const LATE_MAX: Duration = Duration::from_secs(5);
/// How late the hub may notice that a lease is over: a question may be on its way just then.
const LEASE_LATE_MAX: Duration = Duration::from_secs(1);

/// One answer about one cluster.
#[derive(Clone, Debug)]
struct Told {
    asked: Instant,
    answered: Instant,
    instance: Value,
}

/// From when to when a cluster could not be heard of; open while it cannot.
#[derive(Clone, Debug)]
struct Silence {
    cluster: String,
    from: Instant,
    until: Option<Instant>,
}

/// The objects that were seen with a value, by value.
type Reached = BTreeMap<String, BTreeSet<String>>;

/// When each cluster was first known to have had a value in all objects: by cluster and value.
type Ran = BTreeMap<(String, String), Instant>;

/// Asks for the status again and again, and watches what the clusters really run.
pub struct Observer {
    commits: Commits,
    lease: Duration,
    told: Arc<Mutex<Vec<Told>>>,
    ran: Arc<Mutex<Ran>>,
    silences: Vec<Silence>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<Result<()>>>,
}

/// A lock that is as good as new after a panic elsewhere.
fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Observer {
    /// Starts to ask and to watch. `lease` is the hub's.
    pub fn start(fleet: &Fleet, load: &Load, lease: Duration) -> Observer {
        let stop = CancellationToken::new();
        let (told, ran) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Ran::new())));
        let mut tasks = vec![tokio::spawn(ask(fleet.hub.command(), told.clone(), stop.clone()))];
        for member in &fleet.members {
            let watching = Watching {
                cluster: member.name.to_owned(),
                live: member.live.clone(),
                list: format!("/api/v1/namespaces/{}/configmaps", member.namespace),
                objects: load.objects,
                ran: ran.clone(),
            };
            tasks.push(tokio::spawn(watching.run(stop.clone())));
        }
        Observer { commits: load.commits(), lease, told, ran, silences: Vec::new(), stop, tasks }
    }

    /// From now on nothing of this cluster reaches the hub.
    pub fn silent(&mut self, cluster: &str) {
        self.silences.push(Silence { cluster: cluster.to_owned(), from: Instant::now(), until: None });
    }

    /// From now on the cluster may be heard of again.
    pub fn back(&mut self, cluster: &str) {
        for silence in self.silences.iter_mut().filter(|it| it.cluster == cluster && it.until.is_none()) {
            silence.until = Some(Instant::now());
        }
    }

    /// Ends, and judges every answer.
    ///
    /// # Errors
    /// Something that was told was not true, or nothing was told.
    pub async fn judge(mut self) -> Result<()> {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            task.await??;
        }
        let (told, ran) = (locked(&self.told).clone(), locked(&self.ran).clone());
        let good = told.iter().filter(|told| told.instance["health"] == "Healthy").count();
        ensure!(good > 0, "nobody was told anything good in {} answers", told.len());
        for told in &told {
            self.is_true(told, &ran).with_context(|| format!("a person was told {}", told.instance))?;
        }
        eprintln!("{} answers about clusters were true, {good} of them good news", told.len());
        Ok(())
    }

    fn is_true(&self, told: &Told, ran: &Ran) -> Result<()> {
        let Told { asked, answered, instance } = told;
        let cluster = instance["cluster"].as_str().context("an answer is about a cluster")?;
        if instance["health"] == "Healthy" {
            let over = |it: &&Silence| {
                it.cluster == cluster
                    && *asked > it.from + self.lease + LEASE_LATE_MAX
                    && it.until.is_none_or(|until| *answered < until)
            };
            let silence = self.silences.iter().find(over);
            ensure!(silence.is_none(), "healthy, and silent for longer than {:?}", self.lease);
        }
        if instance["health"] == "Healthy" && instance["sync"] == "Synced" {
            let commit = instance["runningCommit"].as_str().unwrap_or_default();
            let list = self.commits.list();
            let known = list.iter().find(|known| known.id == commit);
            let known = known.with_context(|| format!("it is not one of {} commits", list.len()))?;
            let first = ran.get(&(cluster.to_owned(), known.value.clone()));
            let first = first.context("the cluster never ran that")?;
            ensure!(*first <= *answered + LATE_MAX, "the cluster ran that {:?} later", *first - *answered);
        }
        Ok(())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn ask(command: Cli, told: Arc<Mutex<Vec<Told>>>, stop: CancellationToken) -> Result<()> {
    while !stop.is_cancelled() {
        let asked = Instant::now();
        // A hub that is away tells nobody anything.
        if let Ok(mut answer) = command.json(&["get", "app", NAME]).await
            && let Value::Array(instances) = answer["instances"].take()
        {
            let answered = Instant::now();
            let all = instances.into_iter().map(|instance| Told { asked, answered, instance });
            locked(&told).extend(all);
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

/// One cluster's objects, seen as they change.
struct Watching {
    cluster: String,
    live: Live,
    list: String,
    objects: usize,
    ran: Arc<Mutex<Ran>>,
}

impl Watching {
    async fn run(self, stop: CancellationToken) -> Result<()> {
        let mut reached = Reached::new();
        while !stop.is_cancelled() {
            tokio::select! {
                // An API server that is away is asked again.
                _ = self.follow(&mut reached) => sleep(PAUSE).await,
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    async fn follow(&self, reached: &mut Reached) -> Result<()> {
        let listed = self.live.get(&self.list).await?;
        for object in listed["items"].as_array().into_iter().flatten() {
            self.see(reached, object);
        }
        let version = listed["metadata"]["resourceVersion"].as_str().context("a list has a version")?;
        let mut changes = self.live.watch(&self.list, version).await?.boxed();
        while let Some(object) = changes.try_next().await? {
            self.see(reached, &object);
        }
        Ok(())
    }

    /// A cluster ran a commit once each object had its value. Not all at once: a hand may have changed one meanwhile, and
    /// the next commit another.
    fn see(&self, reached: &mut Reached, object: &Value) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if !name.starts_with("page-") {
            return;
        }
        let value = object["data"]["value"].as_str().unwrap_or_default().to_owned();
        let objects = reached.entry(value.clone()).or_default();
        objects.insert(name.to_owned());
        if objects.len() == self.objects {
            locked(&self.ran).entry((self.cluster.clone(), value)).or_insert_with(Instant::now);
        }
    }
}
