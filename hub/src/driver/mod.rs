//! The loop around the hub's step function.
//!
//! ```text
//!  Handle ──► queue ──► drain (1,024 inputs or 2 MiB) ──► step, step, ... ──► one batch ──► log
//!                                                             replies, reads, effects wait ──► durable ──► out
//! ```
//! At most two batches are in flight. A failed append ends the process: nothing is tried again, nothing unwinds.

mod clock;
mod handle;
mod looping;
mod record;
mod replay;
#[cfg(test)]
mod tests;

pub use clock::{Clock, wall};
pub use handle::{Answered, Gone, Handle, Post};
pub use looping::{Driver, Performer};
pub use replay::{Error as ReplayError, replay};
