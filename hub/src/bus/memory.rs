//! The bus in memory, for tests and simulations: keeps the same promises as NATS.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use taffrail_core::desired::Mark;
use taffrail_core::digest::Digest;
use taffrail_core::id::AccountKey;
use taffrail_runtime::nats::Link;
use tokio::sync::{broadcast, oneshot, watch};
use tokio_stream::wrappers::BroadcastStream;

use super::{Bus, Ensured, Error, INDEX_MAX, Index, REQUESTS_MAX, Request, parts};

/// A bus in memory. Clones are the same bus.
#[derive(Clone, Debug)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    asked: broadcast::Sender<Asked>,
    link: Arc<watch::Sender<Link>>,
}

#[derive(Debug, Default)]
struct State {
    made: bool,
    sequence: u64,
    indexes: BTreeMap<AccountKey, Index>,
    bundles: BTreeMap<Digest, Bytes>,
}

/// A request on its way; the first reader that takes the sender answers it.
#[derive(Clone, Debug)]
struct Asked {
    account: AccountKey,
    body: Bytes,
    traceparent: Option<String>,
    answer: Arc<Mutex<Option<oneshot::Sender<Bytes>>>>,
}

impl Default for Memory {
    fn default() -> Memory {
        let link = watch::Sender::new(Link { up: true, connects: 1, refusals: 0 });
        Memory { state: Arc::default(), asked: broadcast::Sender::new(REQUESTS_MAX), link: Arc::new(link) }
    }
}

impl Memory {
    /// Forgets everything and reconnects: a wiped server.
    pub fn wipe(&self) {
        *self.state() = State::default();
        self.link.send_modify(|link| link.connects += 1);
    }

    /// Asks as the agent of `account` does; `None` if nobody answers.
    pub async fn ask(&self, account: AccountKey, body: Bytes, traceparent: Option<String>) -> Option<Bytes> {
        let (answer, receipt) = oneshot::channel();
        let answer = Arc::new(Mutex::new(Some(answer)));
        self.asked.send(Asked { account, body, traceparent, answer }).ok()?;
        receipt.await.ok()
    }

    /// The bundle as an agent reads it.
    pub fn bundle(&self, id: &Digest) -> Option<Bytes> {
        self.state().bundles.get(id).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl Bus for Memory {
    async fn ensure(&self) -> Result<Ensured, Error> {
        let made = std::mem::replace(&mut self.state().made, true);
        Ok(if made { Ensured::Kept } else { Ensured::Refill })
    }

    async fn publish_index(
        &self,
        account: &AccountKey,
        body: Bytes,
        expected: Option<u64>,
        mark: Mark,
    ) -> Result<u64, Error> {
        if body.len() > INDEX_MAX {
            return Err(Error::TooLarge { what: "index", bytes: body.len(), max: INDEX_MAX });
        }
        let mut state = self.state();
        let last = state.indexes.get(account).map_or(0, |index| index.sequence);
        if expected.is_some_and(|expected| expected != last) {
            return Err(Error::Conflict { account: account.clone() });
        }
        state.sequence += 1;
        let sequence = state.sequence;
        state.indexes.insert(account.clone(), Index { sequence, body, mark: Some(mark) });
        Ok(sequence)
    }

    async fn last_index(&self, account: &AccountKey) -> Result<Option<Index>, Error> {
        Ok(self.state().indexes.get(account).cloned())
    }

    async fn remove_index(&self, account: &AccountKey) -> Result<(), Error> {
        self.state().indexes.remove(account);
        Ok(())
    }

    async fn put_bundle(&self, id: &Digest, body: Bytes) -> Result<(), Error> {
        parts::cut(&body)?;
        self.state().bundles.insert(*id, body);
        Ok(())
    }

    async fn has_bundle(&self, id: &Digest) -> Result<bool, Error> {
        Ok(self.state().bundles.contains_key(id))
    }

    async fn list_bundles(&self) -> Result<BTreeSet<Digest>, Error> {
        Ok(self.state().bundles.keys().copied().collect())
    }

    async fn remove_bundle(&self, id: &Digest) -> Result<(), Error> {
        self.state().bundles.remove(id);
        Ok(())
    }

    async fn requests(&self) -> Result<BoxStream<'static, Request>, Error> {
        let requests = BroadcastStream::new(self.asked.subscribe()).filter_map(async |asked| {
            let Asked { account, body, traceparent, answer } = asked.ok()?;
            let answer = answer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()?;
            let responder = Box::new(move |receipt| -> futures::future::BoxFuture<'static, _> {
                Box::pin(async move {
                    let _ = answer.send(receipt);
                    Ok(())
                })
            });
            Some(Request { account, body, traceparent, responder })
        });
        Ok(requests.boxed())
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::conformance;

    #[tokio::test]
    async fn memory_keeps_every_promise() {
        let bus = Memory::default();
        let agents = bus.clone();
        let ask = move |account, body, traceparent| {
            let bus = agents.clone();
            let receipt: conformance::Asked =
                Box::pin(async move { bus.ask(account, body, traceparent).await });
            receipt
        };
        let accounts = ["A", "B"].map(|mark| AccountKey::parse(&format!("A{}", mark.repeat(55))).unwrap());
        conformance::keeps_every_promise(&bus, &accounts, &ask).await;
    }

    #[tokio::test]
    async fn a_wiped_bus_asks_for_a_refill() {
        let bus = Memory::default();
        let mut answers = std::pin::pin!(super::super::ensured(Arc::new(bus.clone())));
        assert_eq!(answers.next().await, Some(Ensured::Refill));
        bus.link.send_modify(|link| link.connects += 1);
        assert_eq!(answers.next().await, Some(Ensured::Kept));
        bus.wipe();
        assert_eq!(answers.next().await, Some(Ensured::Refill));
    }
}
