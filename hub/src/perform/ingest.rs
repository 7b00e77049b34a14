//! Requests of agents: verified off the driver's thread, answered after the fsync.

use super::Vault;
use crate::bus::{Bus, Request};
use crate::driver::{Answered, Handle};
use anyhow::Context as _;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use taffrail_core::id::AccountKey;
use taffrail_core::node::hub::Reply;
use taffrail_proto::report::{self, Incoming, encode_refusal, encode_reply, open_request};
use taffrail_proto::sign::PublicKey;
use taffrail_runtime::telemetry::adopt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Requests in work at once: enough to fill a batch of the log while the one before is being fsynced.
const AT_ONCE: usize = 256;

/// Requests of one account in work at once: an agent sends the next when it has the answer, and once more after a time-out.
/// Whoever sends more is not answered, so that one cluster cannot take the places of all.
const OF_ONE_AT_ONCE: usize = 4;

/// A request that was looked at.
type Opened = Result<Incoming, report::Error>;

/// What requests share.
struct Desk {
    handle: Handle,
    vault: Arc<Vault>,
    accounts: Mutex<BTreeMap<AccountKey, Account>>,
}

/// What is remembered of an account while it has requests in work, and of a known one after that.
#[derive(Default)]
struct Account {
    /// The key that its requests are verified with. It spares the driver a question; the driver judges what was verified.
    key: Option<PublicKey>,
    in_work: usize,
}

/// Takes requests until `stop`. Each runs as a task of its own, so that signatures are verified on every processor.
///
/// # Errors
/// When requests cannot be listened for, or one could not be worked on at all.
pub async fn ingest(
    bus: Arc<dyn Bus>,
    handle: Handle,
    vault: Arc<Vault>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let requests = bus.requests().await?;
    let desk = Arc::new(Desk { handle, vault, accounts: Mutex::default() });
    let tasks = TaskTracker::new();
    requests
        .take_until(stop.cancelled_owned())
        .map(Ok)
        .try_for_each_concurrent(AT_ONCE, |request| {
            let span = tracing::info_span!("events", account = %request.account);
            if let Some(trace) = &request.traceparent {
                adopt(&span, trace);
            }
            let work = desk.clone().answer(request).instrument(span);
            let work = tasks.spawn(work);
            async move { work.await.map_err(anyhow::Error::from) }
        })
        .await
}

impl Desk {
    async fn answer(self: Arc<Desk>, request: Request) {
        let (account, body) = (request.account.clone(), request.body.clone());
        if !self.enter(&account) {
            tracing::warn!("more requests at once than an agent sends, one dropped");
            return;
        }
        let answer = self.reply(&account, body).await;
        self.leave(&account);
        match answer {
            Ok(bytes) => {
                if let Err(error) = request.reply(bytes.into()).await {
                    tracing::debug!(error = %error, "reply not sent; the agent will ask again");
                }
            }
            Err(error) => tracing::debug!(error = format!("{error:#}"), "request not answered"),
        }
    }

    async fn reply(&self, account: &AccountKey, body: Bytes) -> anyhow::Result<Vec<u8>> {
        let opened = match self.open(account, &body).await? {
            Ok(opened) => opened,
            Err(stranger) => return Ok(encode_refusal(stranger)),
        };
        let answered = match opened {
            Ok(incoming) => self.handle.events(account.clone(), incoming).await?,
            Err(error) => {
                let (incarnation, seq) = report::claims(&body);
                let reason = format!("{:#}", anyhow::Error::from(error));
                self.handle.forged(account.clone(), reason, incarnation, seq).await?
            }
        };
        let Answered { reply, index, epoch } = answered;
        if matches!(reply, Reply::Refused { .. } | Reply::Forked { .. }) {
            self.entry(account, |known| known.key = None);
        }
        encode_reply(&reply, account, epoch, index, &self.vault.signer)
            .with_context(|| format!("a batch was answered with {reply:?}"))
    }

    /// The request, verified with the key that is remembered, or with the one in force if that does not fit; or why nothing is
    /// taken of this account.
    async fn open(&self, account: &AccountKey, body: &[u8]) -> anyhow::Result<Result<Opened, &'static str>> {
        let known = self.entry(account, |known| known.key);
        if let Some(known) = known
            && let Ok(incoming) = self.verified(account, body, &known)
        {
            return Ok(Ok(Ok(incoming)));
        }
        let of = account.clone();
        let found = self.handle.look(move |hub, _| {
            let clusters = &hub.state().clusters;
            let key = clusters.by_account(&of).map(|(_, _, enrolment)| PublicKey(enrolment.event_key));
            key.ok_or_else(|| clusters.stranger(&of))
        });
        let key = match found.await? {
            Ok(key) => key,
            Err(stranger) => return Ok(Err(stranger)),
        };
        self.entry(account, |known| known.key = Some(key));
        Ok(Ok(self.verified(account, body, &key)))
    }

    /// The request with what it shows of the hub's own earlier words, all signatures checked.
    fn verified(&self, account: &AccountKey, body: &[u8], key: &PublicKey) -> Opened {
        let mut incoming = open_request(body, account, key)?;
        let stated = incoming.stated.take();
        let shown = stated.map(|stated| stated.verify(&self.vault.signer.public(), account));
        incoming.batch.proof = shown.transpose()?;
        Ok(incoming)
    }

    /// Takes a place for a request; `false` if the account has taken all of its own.
    fn enter(&self, account: &AccountKey) -> bool {
        self.entry(account, |known| {
            let free = known.in_work < OF_ONE_AT_ONCE;
            known.in_work += usize::from(free);
            free
        })
    }

    /// Gives the place back; an account that turned out not to be ours is forgotten.
    fn leave(&self, account: &AccountKey) {
        let mut accounts = self.lock();
        if let Some(known) = accounts.get_mut(account) {
            known.in_work -= 1;
            if known.in_work == 0 && known.key.is_none() {
                accounts.remove(account);
            }
        }
    }

    fn entry<T>(&self, account: &AccountKey, change: impl FnOnce(&mut Account) -> T) -> T {
        change(self.lock().entry(account.clone()).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AccountKey, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "ingest_tests.rs"]
mod tests;
