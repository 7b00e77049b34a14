//! Time as the driver reads it: never back, also after a restart.

use std::time::{SystemTime, UNIX_EPOCH};
use taffrail_core::time::At;
use taffrail_runtime::clock;

/// The hub's time axis.
#[derive(Clone, Copy, Debug)]
pub struct Clock(clock::Clock);

impl Clock {
    /// A clock that begins no earlier than `last`, the time of the last event in the log.
    pub fn after(last: At) -> Clock {
        Clock(clock::Clock::after(last.0))
    }

    /// Now.
    pub fn now(&self) -> At {
        At(self.0.now_ms())
    }
}

/// The wall clock in milliseconds since the Unix epoch.
pub fn wall() -> At {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    At(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
