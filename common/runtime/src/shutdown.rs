//! Signals and the order of leaving: the first asks, the second leaves at once.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Exit code after a second signal: 128 and SIGINT, as shells write it.
pub const EXIT_INTERRUPTED: i32 = 130;
/// Exit code when the grace period was not enough.
pub const EXIT_OVERDUE: i32 = 1;
/// Time to finish after the first signal; Kubernetes kills 30 s after its SIGTERM, so this leaves 5 s of room.
pub const GRACE: Duration = Duration::from_secs(25);

/// Why a process that was asked to stop is ended without waiting any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// A second signal came.
    Second,
    /// The grace period is over.
    Overdue,
}

/// Turns SIGINT and SIGTERM into the cancellation of `stop`.
///
/// Once `stop` is cancelled, by a signal or otherwise, `grace` starts; a further signal, or its end, leaves the process
/// at once. A crash is safe at any instant, so nothing is lost by that.
///
/// # Errors
/// If the operating system refuses the handlers.
pub fn listen(stop: CancellationToken, grace: Duration) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = interrupt.recv() => {}
                Some(()) = terminate.recv() => {}
                else => return,
            }
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        match watch(receiver, &stop, grace).await {
            Ending::Second => {
                tracing::warn!("second signal, leaving at once");
                leave(EXIT_INTERRUPTED);
            }
            Ending::Overdue => {
                tracing::error!(
                    grace_ms = u64::try_from(grace.as_millis()).ok(),
                    "tasks did not end in time"
                );
                leave(EXIT_OVERDUE);
            }
        }
    });
    Ok(())
}

fn leave(code: i32) -> ! {
    std::process::exit(code)
}

async fn watch(mut signals: mpsc::Receiver<()>, stop: &CancellationToken, grace: Duration) -> Ending {
    tokio::select! {
        () = stop.cancelled() => {}
        got = signals.recv() => {
            if got.is_none() {
                stop.cancelled().await;
            } else {
                tracing::info!("asked to stop");
                stop.cancel();
            }
        }
    }
    tokio::select! {
        Some(()) = signals.recv() => Ending::Second,
        () = tokio::time::sleep(grace) => Ending::Overdue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn the_first_signal_asks_and_the_second_leaves() {
        let (sender, receiver) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let watched = tokio::spawn({
            let stop = stop.clone();
            async move { watch(receiver, &stop, LONG).await }
        });
        sender.send(()).await.unwrap();
        tokio::time::timeout(LONG, stop.cancelled()).await.unwrap();
        assert!(!watched.is_finished());
        sender.send(()).await.unwrap();
        assert_eq!(watched.await.unwrap(), Ending::Second);
    }

    #[tokio::test]
    async fn the_grace_period_starts_with_the_stop_whoever_asked_for_it() {
        let (_sender, receiver) = mpsc::channel(4);
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(watch(receiver, &stop, Duration::from_millis(1)).await, Ending::Overdue);
    }
}
