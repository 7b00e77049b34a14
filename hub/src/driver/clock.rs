//! Wall time as the driver reads it: monotone within a run.

use std::time::{SystemTime, UNIX_EPOCH};
use taffrail_core::time::At;

/// Reads the wall clock; never goes back within a run.
#[derive(Debug, Default)]
pub struct Clock {
    last: At,
}

impl Clock {
    /// A clock that starts no earlier than `last`, the time of the last event in the log.
    pub fn after(last: At) -> Clock {
        Clock { last }
    }

    /// Now, or the latest time that was given before.
    pub fn now(&mut self) -> At {
        self.last = self.last.max(wall());
        self.last
    }
}

/// The wall clock in milliseconds since the Unix epoch.
pub fn wall() -> At {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    At(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
