//! The loop around the agent's step function.
//!
//! ```text
//!  queue ──► drain ──► step, step, ... ──► one journal transaction ──► effects, outbox
//! ```
//! Facts are numbered and chained here, in the same transaction as the state that they are about. A journal that cannot
//! be written ends the process.

mod looping;
mod number;
mod outbox;
#[cfg(test)]
mod tests;

pub use looping::{Driver, Driving, Handle, Performer, Shown};
pub use outbox::{Outbox, Sent};
