//! What the hub knows: its log as it comes, and how the app is now.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::harness::{Feed, Hub};
use crate::tree::APP;

/// Longest pause between two looks at the app while no event comes.
const PAUSE: Duration = Duration::from_millis(250);

/// An event of the log, as far as the story tells of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    /// When the hub recorded it.
    pub(super) appended_at: Timestamp,
    /// Its kind.
    pub(super) kind: String,
    /// The cluster concerned, or empty.
    pub(super) cluster: String,
    /// The commit concerned, or empty.
    pub(super) commit: String,
    /// Its payload.
    pub(super) detail: Value,
}

/// The app, as `taffrail get app` shows it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct App {
    /// Where it runs.
    pub(super) instances: Vec<Instance>,
}

/// The app on one cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instance {
    pub(super) cluster: String,
    pub(super) sync: String,
    pub(super) health: String,
    pub(super) running_commit: String,
    pub(super) causes: Vec<Cause>,
}

/// Why it is not well there.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Cause {
    pub(super) object: String,
    #[serde(rename = "cause")]
    pub(super) name: String,
    pub(super) message: String,
}

impl Instance {
    /// Whether it runs `commit`.
    pub(super) fn runs(&self, commit: &str) -> bool {
        self.running_commit == commit
    }

    fn told(&self) -> String {
        let commit = self.running_commit.get(..7).unwrap_or("an unknown commit");
        let causes: Vec<String> =
            self.causes.iter().map(|cause| format!("{}: {}", cause.name, cause.message)).collect();
        format!("{} runs {commit}, {}, {} {}", self.cluster, self.sync, self.health, causes.join("; "))
    }
}

/// Follows the log.
pub(super) struct News {
    feed: Feed,
    events: Vec<Event>,
}

impl News {
    /// Of this hub, from the first event on.
    pub(super) fn of(hub: &Hub) -> Result<News> {
        Ok(News { feed: hub.follow(&[])?, events: Vec::new() })
    }

    /// All events so far.
    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// Waits until an event came, or `pause` is over.
    async fn hear(&mut self, pause: Duration) -> Result<()> {
        if let Ok(event) = timeout(pause, self.feed.next()).await {
            let event = event?;
            self.events
                .push(serde_json::from_value(event.clone()).with_context(|| format!("read event {event}"))?);
        }
        Ok(())
    }

    /// Waits until one of the events is `wanted` and returns it.
    pub(super) async fn event(
        &mut self,
        what: &str,
        bound: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event> {
        let end = Instant::now() + bound;
        let mut seen = 0;
        loop {
            if let Some(event) = self.events[seen..].iter().find(|event| wanted(event)) {
                return Ok(event.clone());
            }
            seen = self.events.len();
            if Instant::now() > end {
                bail!("not within {bound:?}: {what}");
            }
            self.hear(PAUSE).await?;
        }
    }

    /// Waits until the app is as `done` says, asking anew after each event; `seen` is shown every look.
    pub(super) async fn app(
        &mut self,
        hub: &Hub,
        what: &str,
        bound: Duration,
        mut seen: impl FnMut(&App),
        done: impl Fn(&App) -> bool,
    ) -> Result<App> {
        let end = Instant::now() + bound;
        let mut last = "there is no such app yet".to_owned();
        loop {
            // Until the declaration is read there is no such app.
            let answer = hub.cli(&["get", "app", APP, "-o", "json"]).await?;
            if answer.code == 0 {
                let app: App =
                    serde_json::from_str(&answer.stdout).context("read taffrail get app -o json")?;
                seen(&app);
                if done(&app) {
                    return Ok(app);
                }
                last = app.instances.iter().map(Instance::told).collect::<Vec<_>>().join("\n  ");
            }
            if Instant::now() > end {
                bail!("not within {bound:?}: {what}\n  {last}");
            }
            self.hear(PAUSE).await?;
        }
    }
}
