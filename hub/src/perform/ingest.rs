//! Requests of agents: verified off the driver's thread, answered after the fsync.

use super::Vault;
use crate::bus::{Bus, Request};
use crate::driver::{Answered, Handle};
use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use std::sync::Arc;
use taffrail_core::id::AccountKey;
use taffrail_proto::report::{self, encode_refusal, encode_reply, open_request};
use taffrail_proto::sign::PublicKey;
use taffrail_runtime::telemetry::adopt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Requests in work at once: enough to fill a batch of the log while the one before is being fsynced.
const AT_ONCE: usize = 256;

/// Takes requests until `stop`.
///
/// # Errors
/// When requests cannot be listened for.
pub async fn ingest(
    bus: Arc<dyn Bus>,
    handle: Handle,
    vault: Arc<Vault>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let requests = bus.requests().await?;
    requests
        .take_until(stop.cancelled_owned())
        .for_each_concurrent(AT_ONCE, |request| {
            let span = tracing::info_span!("events", account = %request.account);
            if let Some(trace) = &request.traceparent {
                adopt(&span, trace);
            }
            answer(request, handle.clone(), vault.clone()).instrument(span)
        })
        .await;
    Ok(())
}

async fn answer(request: Request, handle: Handle, vault: Arc<Vault>) {
    let (account, body) = (request.account.clone(), request.body.clone());
    match reply(account, body, &handle, &vault).await {
        Ok(bytes) => {
            if let Err(error) = request.reply(bytes.into()).await {
                tracing::debug!(error = %error, "reply not sent; the agent will ask again");
            }
        }
        Err(error) => tracing::debug!(error = format!("{error:#}"), "request not answered"),
    }
}

async fn reply(account: AccountKey, body: Bytes, handle: &Handle, vault: &Vault) -> anyhow::Result<Vec<u8>> {
    let (key, epoch) = match key_of(handle, &account).await? {
        Ok(known) => known,
        Err(stranger) => return Ok(encode_refusal(stranger)),
    };
    let answered = match open_request(&body, &account, &key) {
        Ok(incoming) => handle.events(account.clone(), incoming).await?,
        Err(error) => {
            let (incarnation, seq) = report::claims(&body);
            handle
                .forged(account.clone(), format!("{:#}", anyhow::Error::from(error)), incarnation, seq)
                .await?
        }
    };
    let Answered { reply, index } = answered;
    encode_reply(&reply, &account, epoch, index, &vault.signer)
        .with_context(|| format!("a batch was answered with {reply:?}"))
}

/// The key of a cluster's events and the hub's epoch, or why nothing is taken of this account.
async fn key_of(
    handle: &Handle,
    account: &AccountKey,
) -> anyhow::Result<Result<(PublicKey, u64), &'static str>> {
    let of = account.clone();
    let found = handle.look(move |hub, _| {
        let clusters = &hub.state().clusters;
        let key = clusters.by_account(&of).map(|(_, _, enrolment)| PublicKey(enrolment.event_key));
        key.map(|key| (key, hub.state().planner.epoch)).ok_or_else(|| clusters.stranger(&of))
    });
    Ok(found.await?)
}
