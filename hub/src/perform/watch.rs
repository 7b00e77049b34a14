//! Looking at repositories: every interval, and at once when somebody hints.

use super::Mirrors;
use crate::driver::Handle;
use crate::git::Mirror;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use taffrail_core::id::CommitId;
use taffrail_core::node::hub::Input;
use taffrail_core::source::{Sighting, Track};
use taffrail_core::time::At;
use taffrail_runtime::telemetry::TraceParent;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Repositories looked at together.
const LOOKS_AT_ONCE: usize = 8;

/// How the last look at a repository went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitStatus {
    /// When it last answered.
    pub ok_at: Option<At>,
    /// What went wrong since, if anything.
    pub error: Option<String>,
}

/// The watcher and what it knows.
pub struct Watch {
    handle: Handle,
    mirrors: Arc<Mirrors>,
    tracks: watch::Receiver<BTreeSet<Track>>,
    hints: Notify,
    hinted_by: Mutex<Option<TraceParent>>,
    status: Mutex<BTreeMap<String, GitStatus>>,
}

impl Watch {
    /// A watcher of what `tracks` says.
    pub fn new(handle: Handle, mirrors: Arc<Mirrors>, tracks: watch::Receiver<BTreeSet<Track>>) -> Watch {
        Watch {
            handle,
            mirrors,
            tracks,
            hints: Notify::new(),
            hinted_by: Mutex::default(),
            status: Mutex::default(),
        }
    }

    /// Look now: a webhook came, or a person asks. What is found then belongs to the caller's trace.
    pub fn hint(&self) {
        *self.hinted_by.lock().unwrap_or_else(PoisonError::into_inner) = TraceParent::current();
        self.hints.notify_one();
    }

    /// How the last look at a repository went.
    pub fn status(&self, url: &str) -> GitStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.get(url).cloned().unwrap_or_default()
    }

    /// Looks until `stop`.
    pub async fn run(self: Arc<Self>, poll: Duration, stop: CancellationToken) {
        let mut tracks = self.tracks.clone();
        let at_once = Arc::new(Semaphore::new(LOOKS_AT_ONCE));
        loop {
            let wanted = tracks.borrow_and_update().clone();
            let mut by_url: BTreeMap<String, Vec<Track>> = BTreeMap::new();
            for track in wanted {
                by_url.entry(track.url.clone()).or_default().push(track);
            }
            let cause = self.hinted_by.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut looks = JoinSet::new();
            for (url, tracks) in by_url {
                let (watch, at_once) = (self.clone(), at_once.clone());
                looks.spawn(async move {
                    let Ok(_permit) = at_once.acquire_owned().await else { return };
                    watch.look(url, tracks, cause).await;
                });
            }
            tokio::select! {
                _ = looks.join_all() => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(poll) => {}
                () = self.hints.notified() => {}
                changed = tracks.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
        }
    }

    async fn look(&self, url: String, tracks: Vec<Track>, cause: Option<TraceParent>) {
        let span = tracing::info_span!("look", repo = %url);
        if let Some(cause) = cause {
            cause.adopt(&span);
        }
        let outcome = self.tracks(&url, tracks).instrument(span).await;
        let failed = outcome.err().map(|error| format!("{error:#}"));
        if let Some(error) = &failed {
            tracing::warn!(repo = %url, error, "look at repository failed, will retry");
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let known = status.entry(url).or_default();
        if failed.is_none() {
            known.ok_at = Some(crate::driver::wall());
        }
        known.error = failed;
    }

    /// Looks at every revision of a repository over one connection. Those that moved together are seen together; one that
    /// is not there does not keep the others from being seen.
    async fn tracks(&self, url: &str, tracks: Vec<Track>) -> anyhow::Result<()> {
        let mirror = self.mirrors.get(url)?;
        let revisions: Vec<String> = tracks.iter().map(|track| track.revision.clone()).collect();
        let mut found = mirror.advance(&revisions).await?;
        let mut moved: BTreeMap<(CommitId, Option<CommitId>), Vec<Track>> = BTreeMap::new();
        let mut missing = Vec::new();
        for track in tracks {
            let Some(commit) = found.remove(&track.revision).flatten() else {
                missing.push(track.revision);
                continue;
            };
            if let Some(head) = self.news(&track, &commit).await? {
                moved.entry((commit, head)).or_default().push(track);
            }
        }
        for ((commit, head), mut tracks) in moved {
            let track = tracks.remove(0);
            let also: Vec<String> = tracks.into_iter().map(|track| track.revision).collect();
            let seen = sighting(&*mirror, track, commit, head).await?;
            if seen.descends {
                self.handle.post().input(Input::Sighted(Sighting { also, ..seen })).await?;
                continue;
            }
            // A rewritten history is stated and allowed revision by revision, but all in one look: who allows the first
            // must not find the next one parked a poll later.
            for revision in also {
                let track = Track { url: url.to_owned(), revision };
                self.handle.post().input(Input::Sighted(Sighting { track, ..seen.clone() })).await?;
            }
            self.handle.post().input(Input::Sighted(seen)).await?;
        }
        let names = missing.join(", ");
        anyhow::ensure!(
            names.is_empty(),
            "revision {names} is not in the repository; everything stays as it is"
        );
        Ok(())
    }

    /// The accepted head of a revision, if it being at `commit` now is news.
    async fn news(&self, track: &Track, commit: &CommitId) -> anyhow::Result<Option<Option<CommitId>>> {
        let of = track.clone();
        let known = self.handle.look(move |hub, _| {
            let state = hub.state().sources.tracks.get(&of);
            let head = state.and_then(|state| state.head.as_ref()).map(|head| head.commit.clone());
            (head, state.and_then(|state| state.parked.clone()), hub.wants_look(&of))
        });
        let (head, parked, wanted) = known.await?;
        let seen = !wanted
            && ((head.as_ref() == Some(commit) && parked.is_none()) || parked.as_ref() == Some(commit));
        Ok((!seen).then_some(head))
    }
}

async fn sighting(
    mirror: &dyn Mirror,
    track: Track,
    commit: CommitId,
    head: Option<CommitId>,
) -> anyhow::Result<Sighting> {
    let meta = mirror.meta(&commit).await?;
    let descends = match &head {
        None => true,
        Some(head) => mirror.is_ancestor(head, &commit).await.unwrap_or_else(|error| {
            // A mirror that was lost no longer has the old head; then nothing can be said, and a person is asked.
            tracing::warn!(error = %error, "accepted head is not in the mirror");
            false
        }),
    };
    Ok(Sighting {
        track,
        also: Vec::new(),
        commit,
        head,
        descends,
        author: format!("{} <{}>", meta.author_name, meta.author_email),
        subject: meta.subject,
        committed_at: meta.committed_at,
        trace: TraceParent::current().map(|trace| trace.to_string()),
    })
}
