//! A realistic log, made by the hub's own driver: commits, renderings, indexes of 100 clusters, and what their agents say.

use super::super::sender::{join, sign};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use taffrail_core::catalog::{Declared, Destination, Listing, Reading, Render, Root, SyncPolicy};
use taffrail_core::event::Actor;
use taffrail_core::id::{AppName, CommitId, SourceName};
use taffrail_core::node::hub::{Command, Effect, Hub, Input, Outcome, Rendered, Reply, Settings};
use taffrail_core::selector::Selector;
use taffrail_core::source::{self, Sighting, Track};
use taffrail_core::time::{At, Span};
use taffrail_hub::driver::{Driver, Handle, Performer, Post, replay};
use taffrail_hub::log::{Log as _, RESERVE_MIN, Rocks};
use taffrail_proto::report::open_request;
use taffrail_proto::sign::sha256;
use taffrail_testkit::sender::Sender;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Clusters of the fleet.
const CLUSTERS: usize = 100;

/// Apps on each.
const APPS: usize = 20;

/// Events that each agent reports after a commit: an app goes from syncing to synced and healthy, some drift is healed.
const REPORTS: usize = 5;

/// Effects that wait to be answered: more than one commit makes.
const EFFECTS: usize = 1 << 16;

/// Answers effects as if everything had gone well.
struct World(mpsc::Sender<Effect>);

impl Performer for World {
    fn perform(&mut self, effect: Effect) {
        // Only a hub that ends has nobody who listens.
        drop(self.0.try_send(effect));
    }
}

/// Fills an empty log in `folder` with at least `wanted` events; their number.
pub(super) async fn write(folder: &Path, wanted: u64) -> Result<u64> {
    let log = Arc::new(Rocks::open(folder, RESERVE_MIN, Box::new(|error| eprintln!("log ended: {error}")))?);
    let hub = Hub::new(replay(&*log)?, Settings { lease: Span::secs(86_400) });
    let (driver, handle, _) = Driver::new(hub, log.clone());
    let (stop, (asked, effects)) = (CancellationToken::new(), mpsc::channel(EFFECTS));
    let stopping = stop.clone();
    let driving = tokio::spawn(async move { driver.run(&mut World(asked), stopping).await });
    let answering = tokio::spawn(answer(effects, handle.post()));
    handle.post().input(Input::Started { version: "1.0.0".to_owned(), epoch: 1 }).await?;
    let order = source::Command::Add { source: shop()?, track: track(), path: String::new() };
    handle.order(Actor::Person("ann".to_owned()), Command::Source(order)).await?;
    let mut agents = (0..CLUSTERS).map(Sender::new).collect::<Vec<Sender>>();
    for agent in &agents {
        join(agent, &handle).await?;
    }
    let mut commit = 0;
    while *log.durable().borrow() < wanted {
        commit += 1;
        push(&handle, commit).await?;
        report(&handle, &mut agents).await?;
    }
    let events = handle.look(|hub, _| hub.state().index).await?;
    stop.cancel();
    driving.await??;
    answering.await?;
    Ok(events)
}

fn shop() -> Result<SourceName> {
    Ok(SourceName::parse("shop")?)
}

fn track() -> Track {
    Track { url: "https://localhost:1/shop".to_owned(), revision: "main".to_owned() }
}

/// A commit that changes one app, until every cluster's index names it.
async fn push(handle: &Handle, number: usize) -> Result<()> {
    let commit = CommitId::parse(&format!("{number:040x}"))?;
    let known = handle.look(|hub, _| hub.state().sources.head(&track()).map(|head| head.commit.clone()));
    let sighting = Sighting {
        track: track(),
        head: known.await?,
        also: vec!["HEAD".to_owned()],
        commit: commit.clone(),
        descends: true,
        author: "Ann Example <ann@example.com>".to_owned(),
        subject: format!("Raise the image of app {} to 1.{number}", number % APPS),
        committed_at: At(0),
        trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    };
    handle.post().input(Input::Sighted(sighting)).await?;
    loop {
        let (head, track) = (commit.clone(), track());
        let idle = handle.look(move |hub, _| {
            hub.is_idle() && hub.state().sources.head(&track).is_some_and(|known| known.commit == head)
        });
        if idle.await? {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}

/// Every agent reports.
async fn report(handle: &Handle, agents: &mut [Sender]) -> Result<()> {
    let mut waiting = Vec::new();
    for agent in agents {
        let incoming = open_request(&sign(agent, REPORTS)?, &agent.account, &agent.public())?;
        waiting.push(handle.events(agent.account.clone(), incoming));
    }
    for answered in futures::future::try_join_all(waiting).await? {
        ensure!(matches!(answered.reply, Reply::Receipt { .. }), "no receipt: {:?}", answered.reply);
    }
    Ok(())
}

async fn answer(mut effects: mpsc::Receiver<Effect>, post: Post) {
    while let Some(effect) = effects.recv().await {
        let Ok(Some(input)) = outcome(effect) else { continue };
        if post.input(input).await.is_err() {
            return;
        }
    }
}

/// What comes of an effect.
fn outcome(effect: Effect) -> Result<Option<Input>> {
    Ok(Some(match effect {
        Effect::Follow(_) => return Ok(None),
        Effect::Read { source, commit, cause, trace, .. } => {
            let apps = (0..APPS).map(declared).collect::<Result<Vec<Declared>>>()?;
            let listing = Listing { apps, rest: false, notes: Vec::new() };
            let roots = BTreeMap::from([(Root::Directory, Ok(listing))]);
            Input::Read(Reading { source, commit, roots, cause: Some(cause), trace })
        }
        Effect::Render { variant, commit, previous, .. } => {
            let number = u64::from_str_radix(commit.as_str(), 16).context("read a commit")?;
            let touched = variant.path.ends_with(&format!("-{}", number % APPS as u64));
            let outcome = if previous.is_some() && !touched {
                Outcome::Unchanged
            } else {
                let digest = sha256(format!("{variant}{commit}").as_bytes());
                let (sealed, inputs) = (sha256(&digest.0), vec![variant.path.clone()]);
                Outcome::Sealed { digest, sealed, size: 40_000, objects: 50, inputs }
            };
            Input::Rendered(Rendered { variant, commit, outcome })
        }
        Effect::Publish { cluster, index, .. } => Input::Published { cluster, mark: index.mark },
        Effect::SetAccount { account, .. } => Input::AccountSet(account),
    }))
}

fn declared(number: usize) -> Result<Declared> {
    Ok(Declared {
        name: AppName::parse(&format!("app-{number}"))?,
        repo_url: track().url,
        path: format!("apps/app-{number}"),
        target_revision: "main".to_owned(),
        render: Render::Auto,
        destination: Destination::Selector(Selector::default()),
        namespace: Some("shop".to_owned()),
        sync: SyncPolicy { automated: true, prune: true, self_heal: true, ..SyncPolicy::default() },
        max_deletes: None,
    })
}
