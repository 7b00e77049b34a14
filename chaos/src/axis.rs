//! The time of one process, as the processes of hub and agent read it: it begins with the wall clock and goes on at its
//! own pace, whatever becomes of the wall clock.

use taffrail_core::time::At;

/// The time axis of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    began_at: u64,
    first: At,
}

impl Axis {
    /// An axis that begins at the world's time `now`, with `wall`, and no earlier than `last`.
    pub(crate) fn begin(now: u64, wall: At, last: At) -> Axis {
        Axis { began_at: now, first: wall.max(last) }
    }

    /// The process's time at the world's time `now`.
    pub(crate) fn now(self, now: u64) -> At {
        At(self.first.0 + (now - self.began_at))
    }
}
