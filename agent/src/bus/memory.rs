//! The bus in memory, for tests and simulations: the test plays the hub.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use taffrail_core::digest::Digest;
use taffrail_runtime::nats::Link;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Bus, Error, SEND_MAX};

/// What the hub answers to events; `None` is no answer.
type Answer = dyn Fn(&[u8], Option<&str>) -> Option<Bytes> + Send + Sync;

/// A bus in memory. Clones are the same bus.
#[derive(Clone)]
pub struct Memory {
    index: Arc<watch::Sender<Option<Bytes>>>,
    bundles: Arc<Mutex<BTreeMap<Digest, Bytes>>>,
    link: Arc<watch::Sender<Link>>,
    answer: Arc<Answer>,
    /// Set once credentials were renewed.
    renewed: CancellationToken,
}

impl fmt::Debug for Memory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Memory({:?})", self.link.borrow())
    }
}

impl Memory {
    /// A connected bus on which the hub answers events as `answer` says.
    pub fn new(answer: impl Fn(&[u8], Option<&str>) -> Option<Bytes> + Send + Sync + 'static) -> Memory {
        Memory {
            index: Arc::new(watch::Sender::new(None)),
            bundles: Arc::default(),
            link: Arc::new(watch::Sender::new(Link { up: true, connects: 1, refusals: 0 })),
            answer: Arc::new(answer),
            renewed: CancellationToken::new(),
        }
    }

    /// Publishes an index, as the hub does.
    pub fn publish(&self, body: Bytes) {
        self.index.send_replace(Some(body));
    }

    /// Stores a bundle, as the hub does.
    pub fn put_bundle(&self, id: Digest, body: Bytes) {
        self.bundles().insert(id, body);
    }

    /// Cuts the connection, until [`Memory::join`].
    pub fn cut(&self) {
        self.link.send_modify(|link| link.up = false);
    }

    /// Connects again.
    pub fn join(&self) {
        self.link.send_modify(|link| *link = Link { up: true, connects: link.connects + 1, ..*link });
    }

    /// Whether credentials were renewed.
    pub fn was_renewed(&self) -> bool {
        self.renewed.is_cancelled()
    }

    fn bundles(&self) -> MutexGuard<'_, BTreeMap<Digest, Bytes>> {
        self.bundles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self, what: &'static str) -> Result<(), Error> {
        let up = self.link.borrow().up;
        if up { Ok(()) } else { Err(Error::Read { what, source: "the bus is cut".into() }) }
    }
}

#[async_trait]
impl Bus for Memory {
    async fn index(&self) -> Result<Option<Bytes>, Error> {
        self.connected("index")?;
        Ok(self.index.borrow().clone())
    }

    fn indexes(&self) -> BoxStream<'static, Bytes> {
        let start = (self.index.subscribe(), self.link.subscribe(), None::<Bytes>);
        let indexes = futures::stream::unfold(start, |(mut index, mut link, last)| async move {
            loop {
                link.wait_for(|link| link.up).await.ok()?;
                let found = index.borrow_and_update().clone();
                if let Some(found) = found.filter(|found| last.as_ref() != Some(found)) {
                    return Some((found.clone(), (index, link, Some(found))));
                }
                tokio::select! {
                    changed = index.changed() => changed.ok()?,
                    changed = link.changed() => changed.ok()?,
                }
            }
        });
        indexes.boxed()
    }

    async fn bundle(&self, id: &Digest) -> Result<Bytes, Error> {
        self.connected("bundle")?;
        let body = self.bundles().get(id).cloned().ok_or(Error::Missing { id: *id, part: 0 })?;
        let digest = ring::digest::digest(&ring::digest::SHA256, &body);
        if digest.as_ref() == id.0 {
            Ok(body)
        } else {
            Err(Error::Damaged { id: *id, how: "its digest is another one" })
        }
    }

    async fn send(&self, body: Bytes, traceparent: Option<&str>) -> Result<Bytes, Error> {
        if body.len() > SEND_MAX {
            return Err(Error::TooLarge { bytes: body.len(), max: SEND_MAX });
        }
        let nothing = || Error::Send("nobody answers".into());
        self.connected("receipt").map_err(|_| nothing())?;
        (self.answer)(&body, traceparent).ok_or_else(nothing)
    }

    async fn renew(&self, _jwt: &str, _seed: &str) -> Result<(), Error> {
        self.renewed.cancel();
        self.join();
        Ok(())
    }

    fn end(&self) {
        self.cut();
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::conformance::{self, ANSWER, ASKED};

    struct Hub(Memory);

    #[async_trait]
    impl conformance::Other for Hub {
        async fn publish(&self, body: Bytes) {
            self.0.publish(body);
        }

        async fn put_bundle(&self, id: Digest, body: Bytes) {
            self.0.put_bundle(id, body);
        }

        async fn cut(&self) {
            self.0.cut();
        }

        async fn join(&self) {
            self.0.join();
        }
    }

    #[tokio::test]
    async fn memory_keeps_every_promise() {
        let bus = Memory::new(|body, _| (body == ASKED).then(|| Bytes::from_static(ANSWER)));
        conformance::keeps_every_promise(&bus, &Hub(bus.clone())).await;
    }

    #[tokio::test]
    async fn nothing_is_yielded_or_read_during_a_cut() {
        let bus = Memory::new(|_, _| None);
        let mut indexes = bus.indexes();
        bus.cut();
        bus.publish(Bytes::from_static(b"one"));
        assert!(bus.index().await.is_err());
        assert!(futures::poll!(indexes.next()).is_pending());
    }
}
