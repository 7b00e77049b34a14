//! The stream of one kind, in one namespace or over the cluster: found, listed, watched, and begun again after every
//! failure.

use super::fingerprint::Prints;
use super::{Change, SELECTOR};
use crate::kube::Gvk;
use crate::kube::client::Clients;
use crate::kube::discovery::{Discovery, Served};
use crate::kube::error::{ApiError, Kind, Secrecy};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Objects in one page of a list: metadata with managed fields is about 4 KB an object.
const PAGE: u32 = 50;
/// Between two looks whether the API server has counted back, while nothing fails. A restore needs a restart of the API
/// server, which ends every watch; a way in between may hide that.
pub(super) const PROBE_EVERY: Duration = Duration::from_mins(5);
/// First and longest pause before such a look after a failure: the server comes back at some time after it.
const DOUBT_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Longest time for such a look.
const PROBE_MAX: Duration = Duration::from_secs(10);
/// First and longest pause before a kind that is not served is looked for again.
const RESOLVE_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

type Metadata = PartialObjectMeta<DynamicObject>;

/// Everything that one kind's watch goes through.
struct Watched {
    clients: Clients,
    discovery: Arc<Discovery>,
    gvk: Gvk,
    /// Where it looks; `None` for the whole cluster.
    namespace: Option<String>,
    prints: Prints,
    ready: VecDeque<Change>,
    running: Option<Running>,
    pause: Duration,
    waits: bool,
    /// The highest version that the server had; `None` while nothing was ever listed.
    highest: Option<u64>,
    /// When it is looked at next whether the server has counted back, and the pause after that if it cannot be told.
    probe_at: Instant,
    doubt: Duration,
}

/// A stream that was begun.
struct Running {
    api: Api<Metadata>,
    events: BoxStream<'static, watcher::Result<Event<Metadata>>>,
}

/// The changes of one kind in one namespace, without one over the cluster; never ends.
pub(super) fn of_kind(
    clients: &Clients,
    discovery: &Arc<Discovery>,
    gvk: &Gvk,
    namespace: Option<&str>,
) -> BoxStream<'static, Change> {
    let watched = Watched {
        clients: clients.clone(),
        discovery: Arc::clone(discovery),
        gvk: gvk.clone(),
        namespace: namespace.map(str::to_owned),
        prints: Prints::new(gvk.clone(), namespace),
        ready: VecDeque::new(),
        running: None,
        pause: RESOLVE_PAUSE.0,
        waits: false,
        highest: None,
        probe_at: Instant::now(),
        doubt: DOUBT_PAUSE.0,
    };
    stream::unfold(watched, |mut watched| async {
        let change = watched.next().await;
        Some((change, watched))
    })
    .boxed()
}

impl Watched {
    async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return change;
            }
            let Some(Running { events, .. }) = &mut self.running else {
                if let Err(error) = self.resolve().await {
                    return self.failing(error);
                }
                continue;
            };
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                () = tokio::time::sleep_until(self.probe_at), if self.highest.is_some() => {
                    self.probe().await;
                    continue;
                }
            };
            match event {
                Some(Ok(event)) => self.take(event),
                Some(Err(error)) => {
                    self.probe_at = Instant::now() + self.doubt;
                    return self.failing(failure(&self.gvk, &error));
                }
                None => self.running = None,
            }
        }
    }

    /// Looks whether the server has counted back. A watch that goes on from a version that the server does not have yet
    /// is silent until the server has come that far, and what changed by the restore is never shown.
    async fn probe(&mut self) {
        let Some(Running { api, .. }) = &self.running else { return };
        let one = ListParams::default().labels(SELECTOR).limit(1);
        let found = tokio::time::timeout(PROBE_MAX, api.list_metadata(&one)).await;
        let version = match found {
            Ok(Ok(list)) => number(list.metadata.resource_version.as_deref()),
            // The stream itself says what is wrong.
            Ok(Err(_)) | Err(_) => None,
        };
        let (Some(was), Some(is)) = (self.highest, version) else {
            self.doubt = (self.doubt * 2).min(DOUBT_PAUSE.1);
            self.probe_at = Instant::now() + self.doubt;
            return;
        };
        self.doubt = DOUBT_PAUSE.0;
        self.probe_at = Instant::now() + PROBE_EVERY;
        self.highest = Some(is);
        if is < was {
            self.running = None;
            self.prints.tell_anew();
            self.ready.push_back(Change::WentBack { gvk: self.gvk.clone(), was, is });
        }
    }

    /// Finds the kind and begins its stream; waits first if the last attempt failed.
    async fn resolve(&mut self) -> Result<(), ApiError> {
        if self.waits {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(RESOLVE_PAUSE.1);
        }
        self.waits = true;
        let action = format!("watch {}", self.gvk);
        let served = self.discovery.require(&action, &self.gvk).await?;
        if self.namespace.is_some() && !served.namespaced {
            let why = "the rights are for namespaces, and objects of this kind are in none";
            return Err(ApiError::new(action, Kind::Forbidden, why));
        }
        self.waits = false;
        self.pause = RESOLVE_PAUSE.0;
        self.running = Some(self.begin(&served));
        self.probe_at = Instant::now() + self.doubt;
        Ok(())
    }

    fn begin(&self, served: &Served) -> Running {
        // The agent itself needs no right to people's objects: whoever applies them watches them.
        let caller = &self.clients.applier.0;
        let resource = ApiResource {
            group: served.gvk.group.clone(),
            version: served.gvk.version.clone(),
            api_version: served.gvk.api_version(),
            kind: served.gvk.kind.clone(),
            plural: served.plural.clone(),
        };
        let api: Api<Metadata> = match &self.namespace {
            Some(namespace) => Api::namespaced_with(caller.for_watches(), namespace, &resource),
            None => Api::all_with(caller.for_watches(), &resource),
        };
        let config = watcher::Config::default().labels(SELECTOR).page_size(PAGE);
        Running { events: watcher(api.clone(), config).default_backoff().boxed(), api }
    }

    fn take(&mut self, event: Event<Metadata>) {
        if let Event::InitApply(object) | Event::Apply(object) | Event::Delete(object) = &event {
            self.highest = self.highest.max(number(object.metadata.resource_version.as_deref()));
        }
        match event {
            Event::Init => self.prints.begin_list(),
            Event::InitApply(object) | Event::Apply(object) => {
                self.ready.extend(self.prints.see(&object.metadata));
            }
            Event::Delete(object) => self.ready.extend(self.prints.lose(&object.metadata)),
            Event::InitDone => {
                self.highest.get_or_insert_default();
                self.ready.extend(self.prints.end_list());
            }
        }
    }

    /// After two kinds of failure the stream is made anew: a kind that is gone may come back under another address, and a
    /// version that is gone when a watch begins would be asked for again for ever by the client library.
    fn failing(&mut self, error: ApiError) -> Change {
        if matches!(error.kind, Kind::MissingKind | Kind::NotFound | Kind::Gone) {
            self.running = None;
            self.waits = true;
        }
        Change::Failing { gvk: self.gvk.clone(), namespace: self.namespace.clone(), error }
    }
}

/// A version as a number; `None` if it is none, as with some aggregated APIs.
fn number(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}

fn failure(gvk: &Gvk, error: &watcher::Error) -> ApiError {
    let action = format!("watch {gvk}");
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => ApiError::of_client(&action, error, Secrecy::Open),
        watcher::Error::WatchError(status) => ApiError::of_status(&action, status, None, Secrecy::Open),
        watcher::Error::NoResourceVersion => {
            ApiError::new(action, Kind::Other, "the list has no resourceVersion")
        }
    }
}
