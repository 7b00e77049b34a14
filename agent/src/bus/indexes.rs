//! Indexes for ever: live ones, and the stored one after every reconnect.

use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures::future::Either;
use futures::{Stream, StreamExt};
use taffrail_runtime::nats::Link;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::Error;
use super::nats::read_index;

/// Pause between two looks at the stored index while nothing happens: what was missed live is found by then.
const LOOK: Duration = Duration::from_mins(1);
/// First pause after a failed look; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// Longest pause after a failed look.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Where the stream of indexes stands.
struct Reader {
    client: Client,
    account: taffrail_core::id::AccountKey,
    link: watch::Receiver<Link>,
    live: Option<Subscriber>,
    /// The number of connections for which the stored index has been read.
    read_for: Option<u64>,
    look_at: Instant,
    pause: Duration,
    last: Option<Bytes>,
}

/// What woke the reader.
enum Woken {
    Live(Option<Message>),
    Stored(Result<Option<Bytes>, Error>, u64),
    Ended,
}

/// The last index and every later one.
pub(super) fn indexes(
    client: Client,
    account: taffrail_core::id::AccountKey,
    link: watch::Receiver<Link>,
) -> impl Stream<Item = Bytes> + Send {
    let (read_for, look_at, pause, last) = (None, Instant::now(), PAUSE_MIN, None);
    let reader = Reader { client, account, link, live: None, read_for, look_at, pause, last };
    futures::stream::unfold(reader, |mut reader| async move {
        let index = reader.next().await?;
        Some((index, reader))
    })
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.subscribe().await;
            let body = match self.wait().await {
                Woken::Live(Some(message)) if message.status.is_none() => Some(message.payload),
                Woken::Live(Some(_)) => None,
                Woken::Live(None) => {
                    self.live = None;
                    self.read_for = None;
                    None
                }
                Woken::Stored(found, connects) => self.stored(found, connects),
                Woken::Ended => return None,
            };
            if let Some(body) = body.filter(|body| self.last.as_ref() != Some(body)) {
                self.last = Some(body.clone());
                return Some(body);
            }
        }
    }

    /// Subscribes before the stored index is read, so that none falls in between. The client subscribes again by
    /// itself after a reconnect, and before any request that follows.
    async fn subscribe(&mut self) {
        while self.live.is_none() {
            match self.client.subscribe(taffrail_proto::subject::desired(&self.account)).await {
                Ok(live) => self.live = Some(live),
                Err(error) => {
                    tracing::warn!(error = %error, "not subscribed to indexes, will retry");
                    sleep(PAUSE_MAX).await;
                }
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let Reader { client, account, link, live, read_for, look_at, .. } = self;
        let due = async {
            let reconnected = async {
                let found = link.wait_for(|link| link.up && Some(link.connects) != *read_for).await;
                found.map(|link| link.connects).ok()
            };
            let looked = std::pin::pin!(sleep_until(*look_at));
            let connects = match futures::future::select(std::pin::pin!(reconnected), looked).await {
                Either::Left((None, _)) => return Woken::Ended,
                Either::Left((Some(connects), _)) => Some(connects),
                Either::Right(_) => *read_for,
            };
            Woken::Stored(read_index(client, account).await, connects.unwrap_or_default())
        };
        match live {
            Some(live) => tokio::select! {
                biased;
                message = live.next() => Woken::Live(message),
                woken = due => woken,
            },
            None => due.await,
        }
    }

    fn stored(&mut self, found: Result<Option<Bytes>, Error>, connects: u64) -> Option<Bytes> {
        match found {
            Ok(found) => {
                (self.read_for, self.pause) = (Some(connects), PAUSE_MIN);
                self.look_at = Instant::now() + LOOK;
                found
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let retry_in_ms = self.pause.as_millis();
                tracing::warn!(error = %error, cause, retry_in_ms, "stored index not read, will retry");
                self.read_for = Some(connects);
                self.look_at = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                None
            }
        }
    }
}
