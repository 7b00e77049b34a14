//! Following the log: batches of events as they become readable, without gaps and without repeats.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use taffrail_proto::v1::{EventFilter, WatchEventsResponse};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::service::{Events, Fleet};

/// Most events in one message: a few hundred bytes each, far below a gRPC message.
const BATCH_EVENTS: usize = 500;
/// Longest silence of a stream; also what `WatchEventsResponse` promises.
const BEAT: Duration = Duration::from_secs(15);

/// Where one follower stands.
struct Follower {
    fleet: Arc<dyn Fleet>,
    filter: EventFilter,
    after_index: u64,
    follow: bool,
    tail: watch::Receiver<u64>,
    stop: CancellationToken,
    ended: bool,
}

/// Events that match `filter` after `after_index`; goes on until `stop` if `follow` is set.
pub(super) fn events(
    fleet: Arc<dyn Fleet>,
    filter: EventFilter,
    after_index: u64,
    follow: bool,
    stop: CancellationToken,
) -> impl Stream<Item = Result<WatchEventsResponse, Status>> + Send + 'static {
    let tail = fleet.tail();
    let follower = Follower { fleet, filter, after_index, follow, tail, stop, ended: false };
    futures::stream::unfold(follower, |mut follower| async move {
        let item = follower.next().await?;
        Some((item, follower))
    })
}

impl Follower {
    async fn next(&mut self) -> Option<Result<WatchEventsResponse, Status>> {
        if self.ended || self.stop.is_cancelled() {
            return None;
        }
        let mut silent_too_long = false;
        loop {
            self.tail.mark_unchanged(); // before reading, so that what comes meanwhile wakes us
            let which = Events {
                filter: self.filter.clone(),
                after_index: self.after_index,
                limit: BATCH_EVENTS,
                ..Events::default()
            };
            let answer = match self.fleet.events(&which).await {
                Ok(answer) => answer,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error.into()));
                }
            };
            let advanced = answer.value.reached_index > self.after_index;
            self.after_index = self.after_index.max(answer.value.reached_index);
            let at_end = !(answer.value.more && advanced);
            self.ended = at_end && !self.follow;
            if self.ended || silent_too_long || !answer.value.events.is_empty() {
                return Some(Ok(WatchEventsResponse {
                    view: Some(answer.view),
                    events: answer.value.events,
                    reached_index: self.after_index,
                }));
            }
            if at_end {
                tokio::select! {
                    () = self.stop.cancelled() => return None,
                    changed = self.tail.changed() => changed.ok()?,
                    () = tokio::time::sleep(BEAT) => silent_too_long = true,
                }
            } else if self.stop.is_cancelled() {
                return None;
            }
        }
    }
}
