//! A load: commits that each change every object of one app, and hands that change objects meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::apps::{App, config_map, everywhere, roots};
use super::fleet::{BOUND, Fleet};
use super::live::{self, Live};
use super::{Random, wait_for};

/// The app.
pub const NAME: &str = "ledger";

/// Longest pause between two commits, and between two edits by hand.
const PAUSE_MAX: Duration = Duration::from_millis(1_500);

/// A commit, and the value that it gives to every object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: String,
    /// The value.
    pub value: String,
}

/// All commits so far, oldest first. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Commits(Arc<Mutex<Vec<Commit>>>);

impl Commits {
    /// The commit that gives this value.
    pub fn of_value(&self, value: &str) -> Option<Commit> {
        self.list().into_iter().find(|commit| commit.value == value)
    }

    /// The list.
    pub fn list(&self) -> Vec<Commit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, id: String, value: &str) {
        let commit = Commit { id, value: value.to_owned() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(commit);
    }
}

/// The app with its objects, and whoever commits and edits.
pub struct Load {
    /// How many objects the app has on each cluster.
    pub objects: usize,
    commits: Commits,
    running: Option<Running>,
}

struct Running {
    stop: CancellationToken,
    committing: JoinHandle<Result<()>>,
    editing: JoinHandle<()>,
    edits: watch::Receiver<u64>,
}

/// The name of an object.
pub fn object(number: usize) -> String {
    format!("page-{number}")
}

impl Load {
    /// Declares the app, delivers it everywhere, and rests.
    ///
    /// # Errors
    /// It did not arrive.
    pub async fn start(fleet: &Fleet, objects: usize) -> Result<Load> {
        let load = Load { objects, commits: Commits::default(), running: None };
        let mut files = roots(fleet, &[App::automated(NAME)]);
        files.extend(load.files(fleet, "first"));
        let id = fleet.git.commit("first", &files)?;
        load.commits.add(id, "first");
        fleet.hub.done(&["source", "add", &fleet.git.url()]).await?;
        load.arrived(fleet).await?;
        Ok(load)
    }

    /// What was committed.
    pub fn commits(&self) -> Commits {
        self.commits.clone()
    }

    /// One commit by itself; returns it.
    ///
    /// # Errors
    /// Git or the hub refuses.
    pub async fn commit(&self, fleet: &Fleet, value: &str) -> Result<Commit> {
        let id = fleet.push(value, &self.files(fleet, value)).await?;
        self.commits.add(id.clone(), value);
        Ok(Commit { id, value: value.to_owned() })
    }

    /// A commit of somebody else, which leaves the objects as they are.
    pub fn note(&self, id: &str) {
        let value = self.commits.list().pop().map(|last| last.value).unwrap_or_default();
        self.commits.add(id.to_owned(), &value);
    }

    /// Commits and edits from now on, at random moments, whether anybody listens or not.
    pub fn run(&mut self, fleet: &Fleet, seed: u64) {
        let stop = CancellationToken::new();
        let (work, door, url) = (fleet.git.work.clone(), fleet.hub.door(), fleet.git.url());
        let shapes = self.files(fleet, "VALUE");
        let (commits, stopped) = (self.commits.clone(), stop.clone());
        let mut random = Random::new(seed);
        let committing = tokio::spawn(async move {
            for number in 1_u64.. {
                if pause(&mut random, &stopped).await {
                    break;
                }
                let value = format!("load-{number}");
                let files: Vec<(String, String)> =
                    shapes.iter().map(|(path, text)| (path.clone(), text.replace("VALUE", &value))).collect();
                let (work, list, said) = (work.clone(), commits.clone(), value.clone());
                // Not to be cut off in the middle: a commit that nobody knows of would be a lie of the audit.
                let made = tokio::task::spawn_blocking(move || {
                    let files: Vec<(&str, &str)> =
                        files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
                    let id = work.publish(&said, &files)?;
                    list.add(id, &said);
                    std::io::Result::Ok(())
                });
                made.await?.context("commit")?;
                // A hub that is away looks by itself once it is back.
                let _ = door.announce(&url).await;
            }
            Ok(())
        });
        let mut random = Random::new(seed ^ 0xD81F);
        let (stopped, objects) = (stop.clone(), self.objects);
        let members: Vec<(Live, String)> =
            fleet.members.iter().map(|member| (member.live.clone(), member.namespace.clone())).collect();
        let (edits, counted) = watch::channel(0_u64);
        let editing = tokio::spawn(async move {
            while !pause(&mut random, &stopped).await {
                let pick = |of: usize, random: &mut Random| {
                    usize::try_from(random.below(of as u64)).unwrap_or_default()
                };
                let (live, namespace) = &members[pick(members.len(), &mut random)];
                let path = live::config_map(namespace, &object(pick(objects, &mut random)));
                let change = json!({"data": {"value": format!("by hand {}", *edits.borrow())}});
                // An API server that is away cannot be edited either.
                if live.edit(&path, "kubectl-edit", &change).await.is_ok() {
                    edits.send_modify(|edits| *edits += 1);
                }
            }
        });
        self.running = Some(Running { stop, committing, editing, edits: counted });
    }

    /// Ends commits and edits, not before there was one of each, and waits until every cluster runs the last commit.
    ///
    /// # Errors
    /// Nothing could be committed or edited, or a cluster does not run the last commit.
    pub async fn end(&mut self, fleet: &Fleet) -> Result<()> {
        let Running { stop, committing, editing, mut edits } =
            self.running.take().context("the load does not run")?;
        let edited = tokio::time::timeout(BOUND, edits.wait_for(|edits| *edits > 0)).await;
        edited.context("nobody could edit anything")?.context("nobody edits any more")?;
        stop.cancel();
        committing.await??;
        editing.await?;
        let edits = *edits.borrow();
        // Another value than any before: what runs already is no news, and no cluster would come to name the commit.
        let last = format!("last-{}", self.commits.list().len());
        self.commit(fleet, &last).await?;
        self.arrived(fleet).await?;
        eprintln!("{}: {} commits, {edits} edits by hand", fleet.name, self.commits.list().len());
        Ok(())
    }

    /// Waits until status says that every cluster runs the newest commit, and compares each object with it.
    ///
    /// # Errors
    /// One does not, or differs.
    pub async fn arrived(&self, fleet: &Fleet) -> Result<()> {
        let last = self.commits.list().pop().context("nothing was committed")?;
        fleet.healthy(NAME, &last.id).await?;
        for member in &fleet.members {
            for number in 0..self.objects {
                let path = live::config_map(&member.namespace, &object(number));
                let what = format!("{}: {path} is as Git says", member.name);
                let right = wait_for(&what, BOUND, async || {
                    let found = member.live.get(&path).await?;
                    ensure!(found["data"]["value"] == last.value.as_str(), "it should say {last:?}: {found}");
                    let annotation = &found["metadata"]["annotations"]["taffrail.dev/commit"];
                    ensure!(*annotation == last.id.as_str(), "it should name {last:?}: {found}");
                    Ok(Some(()))
                });
                right.await?;
            }
        }
        Ok(())
    }

    fn files(&self, fleet: &Fleet, value: &str) -> Vec<(String, String)> {
        let page = |number| everywhere(fleet, NAME, &config_map(&object(number), value));
        (0..self.objects).flat_map(page).collect()
    }
}

/// Lets some time pass; whether it was cut short by the end.
async fn pause(random: &mut Random, stop: &CancellationToken) -> bool {
    let most = u64::try_from(PAUSE_MAX.as_millis()).unwrap_or(u64::MAX);
    let pause = Duration::from_millis(random.below(most));
    tokio::time::timeout(pause, stop.cancelled()).await.is_ok()
}
