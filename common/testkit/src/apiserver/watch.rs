//! Watches: each reads the history from where it stands, so that nothing is queued per watcher.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::read::{Form, bookmark, send};
use super::select::Selector;
use super::server::Shared;
use super::state::Target;
use super::status::Status;
use super::store::{Change, Name};

/// Changes read from the history at once.
const BATCH: usize = 256;
/// Longest life of a watch without a time limit of its own.
const LIFE_MAX: Duration = Duration::from_hours(1);

/// What a watch asks for.
#[derive(Clone, Debug)]
pub(crate) struct Watching {
    pub(crate) target: Target,
    pub(crate) selector: Selector,
    pub(crate) form: Form,
    /// Empty or "0": begin with all objects that are there.
    pub(crate) resource_version: String,
    pub(crate) bookmarks: bool,
    pub(crate) initial_events: bool,
    pub(crate) timeout: Option<Duration>,
}

/// A watch in progress.
struct Watcher {
    shared: Arc<Shared>,
    ask: Watching,
    /// All changes up to here were sent or did not concern the watch.
    seen: u64,
    changed: tokio::sync::watch::Receiver<u64>,
    restarts: tokio::sync::watch::Receiver<u64>,
    ends: Instant,
    next_bookmark: Instant,
    first: Option<Bytes>,
    over: bool,
}

/// Starts a watch.
///
/// # Errors
/// 400 if the resourceVersion is no number.
pub(crate) fn watch(
    shared: &Arc<Shared>,
    ask: Watching,
) -> Result<impl Stream<Item = Result<Bytes, std::io::Error>> + Send + use<>, Status> {
    let changed = shared.changed.subscribe();
    let version = match ask.resource_version.as_str() {
        "" => 0,
        text => text.parse().map_err(|_| Status::bad_request(format!("invalid resourceVersion {text:?}")))?,
    };
    let starts_with_all = ask.initial_events || version == 0;
    let now = Instant::now();
    let ends = now + ask.timeout.unwrap_or(LIFE_MAX).min(LIFE_MAX);
    let next_bookmark = now + shared.options.bookmark_interval;
    let mut watcher = Watcher {
        shared: Arc::clone(shared),
        ask,
        seen: version,
        changed,
        restarts: shared.restarts.subscribe(),
        ends,
        next_bookmark,
        first: None,
        over: false,
    };
    if starts_with_all {
        watcher.first = Some(watcher.all());
    }
    Ok(futures::stream::unfold(watcher, |mut watcher| async move {
        let line = watcher.next().await?;
        Some((Ok(line), watcher))
    }))
}

impl Watcher {
    /// All objects that are there now, as additions.
    fn all(&mut self) -> Bytes {
        let mut lines = Vec::new();
        let ask = &self.ask;
        let state = self.shared.lock();
        self.seen = state.store.revision();
        for (name, object) in state.store.all(&ask.target.kind.resource()) {
            if shows(ask, name, object) {
                line(&mut lines, "ADDED", &send(&ask.target.kind, object, ask.form));
            }
        }
        if ask.initial_events && ask.bookmarks {
            line(&mut lines, "BOOKMARK", &bookmark(&ask.target.kind, self.seen, ask.form, true));
        }
        lines.into()
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Some(first);
        }
        loop {
            if self.over {
                return None;
            }
            self.changed.mark_unchanged();
            if let Some(lines) = self.read().filter(|lines| !lines.is_empty()) {
                return Some(lines);
            }
            let now = Instant::now();
            if self.ends <= now {
                self.over = true;
                return self.ask.bookmarks.then(|| self.bookmark());
            }
            if self.ask.bookmarks && self.next_bookmark <= now {
                self.next_bookmark = now + self.shared.options.bookmark_interval;
                return Some(self.bookmark());
            }
            let wake = if self.ask.bookmarks { self.ends.min(self.next_bookmark) } else { self.ends };
            tokio::select! {
                changed = self.changed.changed() => if changed.is_err() { return None },
                () = tokio::time::sleep_until(wake) => {}
                _ = self.restarts.changed() => return None,
                () = self.shared.stopping.cancelled() => return None,
            }
        }
    }

    fn bookmark(&self) -> Bytes {
        let mut lines = Vec::new();
        line(&mut lines, "BOOKMARK", &bookmark(&self.ask.target.kind, self.seen, self.ask.form, false));
        lines.into()
    }

    /// The next changes. An error event ends the watch.
    fn read(&mut self) -> Option<Bytes> {
        let mut lines = Vec::new();
        let state = self.shared.lock();
        let now = state.store.revision();
        let changes = match state.store.changes(&self.ask.target.kind.resource(), self.seen, BATCH) {
            Ok(changes) => changes,
            Err(compacted) => {
                let why = format!("too old resource version: {} ({})", self.seen, compacted.floor);
                line(&mut lines, "ERROR", &Status::expired(why).to_json());
                self.over = true;
                return Some(lines.into());
            }
        };
        drop(state);
        let full = changes.len() == BATCH;
        for (name, change) in &changes {
            self.seen = change.revision;
            if let Some((kind, object)) = event(&self.ask, name, change) {
                line(&mut lines, kind, &send(&self.ask.target.kind, object, self.ask.form));
            }
        }
        if full && lines.is_empty() {
            // Nothing of this batch concerned the watch, but there may be more.
            return self.read();
        }
        if !full {
            self.seen = now;
        }
        Some(lines.into())
    }
}

fn shows(ask: &Watching, name: &Name, object: &Value) -> bool {
    let here = ask.target.namespace.is_empty() || name.0 == ask.target.namespace;
    let this = ask.target.name.is_empty() || name.1 == ask.target.name;
    here && this && ask.selector.matches(object)
}

/// What a change looks like through the watch's selector.
fn event<'a>(ask: &Watching, name: &Name, change: &'a Change) -> Option<(&'static str, &'a Value)> {
    let before = change.before.as_deref().filter(|object| shows(ask, name, object));
    let after = change.after.as_deref().filter(|object| shows(ask, name, object));
    match (before, after) {
        (None, Some(object)) => Some(("ADDED", object)),
        (Some(_), Some(object)) => Some(("MODIFIED", object)),
        // An object that leaves the selection is shown in its new state.
        (Some(last), None) => Some(("DELETED", change.after.as_deref().unwrap_or(last))),
        (None, None) => None,
    }
}

fn line(out: &mut Vec<u8>, kind: &str, object: &Value) {
    out.extend(json!({"type": kind, "object": object}).to_string().into_bytes());
    out.push(b'\n');
}
