//! Watches over metadata alone: one stream per kind, or per kind and namespace where the rights are by namespace;
//! fingerprints in memory, only differences reported.
//!
//! ```text
//! set_kinds ──► resolve ──► list (small pages) ──► Seen* Gone* Listed ──► watch ──► Seen | Gone
//!                  ▲  not served, failed: Failing, then again      410 ◄──┘ list again
//! ```
//! Promises:
//!
//! 1. An object is reported when it is first seen and whenever its fingerprint changes, once for each state that the
//!    stream shows; equal states are not repeated, not even after a new list.
//! 2. While a list runs nothing is reported gone; what the complete list does not hold is, just before `Listed`.
//! 3. A stream that fails is reported as [`Change::Failing`] at every attempt, the pauses between attempts grow; nothing
//!    is reported gone because of it. The next other change of that stream ends the failure.
//! 4. `Gone` means: no longer among the objects that carry our label. Somebody may have removed the label, so whoever
//!    hears it reads the object before believing that it was deleted.
//! 5. A kind that leaves the set is forgotten without a word.
//! 6. A server that has counted back is noticed once it answers after a failure, and else within `PROBE_EVERY`:
//!    `WentBack`, then the whole list, equal states too. A watch alone would show nothing until it has caught up.
//! 7. When nobody takes changes, the streams wait: the channel is bounded.

mod fingerprint;
mod stream;

pub use fingerprint::Fingerprint;

use super::client::Clients;
use super::discovery::Discovery;
use super::error::ApiError;
use super::{Gvk, labels};
use futures::StreamExt;
use futures::stream::{AbortHandle, Abortable, BoxStream, SelectAll};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use taffrail_core::object::Key;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Changes that wait to be taken, at most: a list of a thousand objects in four parts.
const CHANGES_MAX: usize = 256;

/// Objects are watched by this label, which every applied object carries.
pub(super) const SELECTOR: &str = labels::APP;

/// What a watch saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An object is there, and is not as it was last reported.
    Seen {
        /// Which.
        key: Key,
        /// As it is now.
        print: Fingerprint,
    },
    /// An object that was reported is not among the labelled ones any more. Read it before believing that it is deleted.
    Gone {
        /// Which.
        key: Key,
    },
    /// A list is complete: everything of this kind, in this part of the cluster, has been reported.
    Listed {
        /// Which kind.
        gvk: Gvk,
        /// In which namespace; `None` for the whole cluster.
        namespace: Option<String>,
    },
    /// The API server has counted back: the cluster was restored from a backup. All of this kind, in this part of the
    /// cluster, is reported anew.
    WentBack {
        /// Which kind.
        gvk: Gvk,
        /// The highest version that was seen.
        was: u64,
        /// The version now.
        is: u64,
    },
    /// Nothing is known about this kind, in this part of the cluster, beyond what was reported; another attempt follows.
    Failing {
        /// Which kind.
        gvk: Gvk,
        /// In which namespace; `None` for the whole cluster.
        namespace: Option<String>,
        /// Why.
        error: ApiError,
    },
}

/// Says which kinds are watched.
#[derive(Clone)]
pub struct Watches {
    kinds: watch::Sender<BTreeSet<Gvk>>,
}

impl Watches {
    /// Watches over nothing yet, the task that keeps them, and the changes that they see. They look into `namespaces`
    /// alone; without any, over the whole cluster, which takes rights to the whole cluster.
    pub fn new(
        clients: &Clients,
        discovery: &Arc<Discovery>,
        namespaces: &[String],
    ) -> (Watches, Watcher, mpsc::Receiver<Change>) {
        let (kinds, wanted) = watch::channel(BTreeSet::new());
        let (changes, receiver) = mpsc::channel(CHANGES_MAX);
        let parts = match namespaces {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        let (clients, discovery) = (clients.clone(), Arc::clone(discovery));
        let watcher = Watcher { clients, discovery, parts, wanted, changes };
        (Watches { kinds }, watcher, receiver)
    }

    /// From now on exactly these kinds are watched. Kinds that were watched before go on undisturbed.
    pub fn set_kinds(&self, kinds: BTreeSet<Gvk>) {
        self.kinds.send_if_modified(|known| {
            let differs = *known != kinds;
            *known = kinds;
            differs
        });
    }
}

/// The task that keeps the watches.
pub struct Watcher {
    clients: Clients,
    discovery: Arc<Discovery>,
    /// The namespaces that are looked into; one `None` for the whole cluster.
    parts: Vec<Option<String>>,
    wanted: watch::Receiver<BTreeSet<Gvk>>,
    changes: mpsc::Sender<Change>,
}

type Stream = Abortable<BoxStream<'static, Change>>;
/// The streams of a kind, one for each part of the cluster.
type Running = BTreeMap<Gvk, Vec<AbortHandle>>;

impl Watcher {
    /// Keeps the watches until it is told to stop, or until nobody can hear or command it any more.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut running = Running::new();
        let mut streams = SelectAll::<Stream>::new();
        self.wanted.mark_changed();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let wanted = self.wanted.borrow_and_update().clone();
                    self.adjust(&wanted, &mut running, &mut streams);
                }
                Some(change) = streams.next(), if !streams.is_empty() => {
                    let sent = tokio::select! {
                        () = stop.cancelled() => return,
                        sent = self.changes.send(change) => sent,
                    };
                    if sent.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn adjust(&self, wanted: &BTreeSet<Gvk>, running: &mut Running, streams: &mut SelectAll<Stream>) {
        running.retain(|gvk, handles| {
            let keep = wanted.contains(gvk);
            if !keep {
                handles.iter().for_each(AbortHandle::abort);
            }
            keep
        });
        for gvk in wanted {
            if !running.contains_key(gvk) {
                let begin = |part: &Option<String>| {
                    let (handle, registration) = AbortHandle::new_pair();
                    let stream = stream::of_kind(&self.clients, &self.discovery, gvk, part.as_deref());
                    streams.push(Abortable::new(stream, registration));
                    handle
                };
                running.insert(gvk.clone(), self.parts.iter().map(begin).collect());
            }
        }
    }
}
