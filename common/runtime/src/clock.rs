//! The time axis of one process: begins with the wall clock and goes on with the monotonic one.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds that never go back, and pass as fast as time does: whoever sets the wall clock while the process runs
/// neither stops its timers nor makes them all due at once. A step of the wall clock counts from the next start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    began_at: Duration,
}

impl Clock {
    /// A clock that begins now, and no earlier than `last_ms`: the latest time that was written down before.
    pub fn after(last_ms: u64) -> Clock {
        Clock { began: Instant::now(), began_at: wall().max(Duration::from_millis(last_ms)) }
    }

    /// Milliseconds on the axis; since the Unix epoch, where the wall clock was right at the start.
    pub fn now_ms(&self) -> u64 {
        let now = self.began_at.saturating_add(self.began.elapsed());
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
    }
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_whose_past_lies_in_the_future_goes_on_all_the_same() {
        let day_ms = 86_400_000;
        let future = u64::try_from(wall().as_millis()).unwrap() + day_ms;
        let clock = Clock::after(future);
        let first = clock.now_ms();
        assert!(first >= future, "it never goes back");
        let passes = |clock: Clock| {
            let (first, began) = (clock.now_ms(), Instant::now());
            while clock.now_ms() <= first {
                assert!(began.elapsed() < Duration::from_secs(10), "it stands still");
                std::thread::yield_now();
            }
        };
        passes(clock);
        passes(Clock::after(0));
        assert!(clock.now_ms() - first < day_ms, "nor does it jump");
    }
}
