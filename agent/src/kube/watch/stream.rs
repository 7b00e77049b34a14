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
use kube::api::Api;
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Objects in one page of a list: metadata with managed fields is about 4 KB an object.
const PAGE: u32 = 50;
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
    events: Option<BoxStream<'static, watcher::Result<Event<Metadata>>>>,
    pause: Duration,
    waits: bool,
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
        events: None,
        pause: RESOLVE_PAUSE.0,
        waits: false,
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
            match &mut self.events {
                Some(events) => match events.next().await {
                    Some(Ok(event)) => self.take(event),
                    Some(Err(error)) => return self.failing(failure(&self.gvk, &error)),
                    None => self.events = None,
                },
                None => {
                    if let Err(error) = self.resolve().await {
                        return self.failing(error);
                    }
                }
            }
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
        self.events = Some(self.begin(&served));
        Ok(())
    }

    fn begin(&self, served: &Served) -> BoxStream<'static, watcher::Result<Event<Metadata>>> {
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
        watcher(api, config).default_backoff().boxed()
    }

    fn take(&mut self, event: Event<Metadata>) {
        match event {
            Event::Init => self.prints.begin_list(),
            Event::InitApply(object) | Event::Apply(object) => {
                self.ready.extend(self.prints.see(&object.metadata));
            }
            Event::Delete(object) => self.ready.extend(self.prints.lose(&object.metadata)),
            Event::InitDone => self.ready.extend(self.prints.end_list()),
        }
    }

    /// After two kinds of failure the stream is made anew: a kind that is gone may come back under another address, and a
    /// version that is gone when a watch begins would be asked for again for ever by the client library.
    fn failing(&mut self, error: ApiError) -> Change {
        if matches!(error.kind, Kind::MissingKind | Kind::NotFound | Kind::Gone) {
            self.events = None;
            self.waits = true;
        }
        Change::Failing { gvk: self.gvk.clone(), namespace: self.namespace.clone(), error }
    }
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
