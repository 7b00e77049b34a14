//! Looking after the streams for ever: at the start, after every reconnect, and now and then.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use taffrail_runtime::nats::Link;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Bus, Ensured};

/// Pause between two looks while the connection stands: whoever may administer the server can take a stream away, and
/// the server tells nobody.
const LOOK: Duration = Duration::from_secs(10);
/// First pause after a failed look; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause after a failed look.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Ensures the streams now, after each reconnect and every 10 s, tries again until it succeeds, and yields each answer.
/// On [`Ensured::Refill`] the caller publishes everything again. Ends when the bus ends.
pub fn ensured(bus: Arc<dyn Bus>) -> impl Stream<Item = Ensured> + Send {
    let link = bus.link();
    futures::stream::unfold((bus, link, None), |(bus, mut link, seen)| async move {
        let mut connects = due(&mut link, seen).await?;
        let mut pause = PAUSE_MIN;
        loop {
            match bus.ensure().await {
                Ok(answer) => return Some((answer, (bus, link, Some(connects)))),
                Err(error) => {
                    let retry_in_ms = pause.as_millis();
                    tracing::warn!(error = %chain(&error), retry_in_ms, "streams not ensured, will retry");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            connects = link.borrow().connects;
        }
    })
}

/// Waits until a look is due: after a connection was made, or after a while with the old one.
async fn due(link: &mut watch::Receiver<Link>, seen: Option<u64>) -> Option<u64> {
    if seen.is_some() {
        tokio::select! {
            connects = changed(link, seen) => return connects,
            () = sleep(LOOK) => {}
        }
    }
    link.wait_for(|link| link.up && link.connects > 0).await.ok().map(|link| link.connects)
}

/// Waits until there was a connection and their number is another one than `seen`, and returns it.
async fn changed(link: &mut watch::Receiver<Link>, seen: Option<u64>) -> Option<u64> {
    let link = link.wait_for(|link| Some(link.connects) != seen).await.ok()?;
    Some(link.connects)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
