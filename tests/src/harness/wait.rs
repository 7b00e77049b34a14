//! Waiting for a fact, with a bound.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

/// Between two looks: short beside a delivery, long beside an answer.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `look` finds something, and returns it. An error of a look is no end: the next look may succeed.
///
/// # Errors
/// Nothing was found within `bound`; the error names `what` and the last error of a look.
pub async fn wait_for<T>(
    what: &str,
    bound: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + bound;
    let mut last = None;
    loop {
        last = match tokio::time::timeout_at(end.max(Instant::now() + PAUSE), look()).await {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(error),
            // What the look before it found says more.
            Err(_) => last.or_else(|| Some(anyhow::anyhow!("the last look did not end"))),
        };
        if Instant::now() >= end {
            let late = format!("not within {bound:?}: {what}");
            return match last {
                Some(error) => Err(error).context(late),
                None => bail!(late),
            };
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_is_returned_and_what_does_not_is_named() {
        let mut looks = 0;
        let found = wait_for("the third look", Duration::from_secs(5), async || {
            looks += 1;
            anyhow::ensure!(looks != 1, "the first look fails");
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.await.unwrap(), 3);
        let never = wait_for::<()>("never", Duration::ZERO, async || anyhow::bail!("why")).await.unwrap_err();
        assert_eq!(format!("{never:#}"), "not within 0ns: never: why");
    }
}
