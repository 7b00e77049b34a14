//! The loop around the hub's step function.
//!
//! ```text
//!  Handle ──► queue ──► drain (1,024 inputs or 2 MiB) ──► step, step, ... ──► one batch ──► log
//!                                                             replies, reads, effects wait ──► durable ──► out
//! ```
//! While the disk is nearly full nothing is decided: looks are answered, whoever asks for a decision is refused, inputs wait.
//! At most two batches are in flight. A failed append ends the process: nothing is tried again, nothing unwinds.

mod clock;
#[cfg(test)]
mod fault_tests;
mod handle;
mod looping;
mod record;
mod replay;
#[cfg(test)]
pub(crate) mod sender;
#[cfg(test)]
mod tests;

pub use clock::{Clock, wall};
pub use handle::{Answered, Gone, Handle, Post};
pub use looping::{Driver, Performer, SHORT};
pub use replay::{Error as ReplayError, replay, replay_known};
