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
mod parked;
mod prove;
mod restore;
#[cfg(test)]
mod tests;

pub use looping::{Driver, Driving, Handle, Performer, Shown};
pub use outbox::{Outbox, Sent};
pub use prove::{Prover, Resumed, Showing};
pub use restore::stored;

/// Setting of the journal: the signed index of a restored hub that waits for the adoption; empty if none does.
const WAITING: &str = "waiting-index";

/// Setting of the journal: the epoch (8 bytes, big-endian) in which two indexes of one mark were seen.
const STOPPED: &str = "equivocation-epoch";

/// Setting of the journal: the last receipt, as the hub signed it.
const RECEIPT: &str = "signed-receipt";
