//! One app on one cluster: from an index entry to applied, healthy, pruned, and kept so.
//!
//! ```text
//!  entry ──► Loading ──► (guard) ──► Storing ──► Applying ──► Settling ──► Pruning ──► Resting ◄──► healing
//!                          │ parked                  │ failed, tried again with back-off
//!                          ▼                         ▼
//!                        Parked ──approved──►     Applying
//!  entry withdrawn ──► Withdrawing ──► gone
//! ```
//! A newer entry pre-empts: requests in flight are waited for, then the new bundle is loaded.

pub mod apply;
pub mod drift;
pub mod drifting;
pub mod flow;
pub mod observe;
pub mod ports;
pub mod remove;
pub mod roster;
pub mod state;
pub mod status;
#[cfg(test)]
mod tests;

pub use ports::{
    Applied, Deleted, Effect, Fingerprint, Inspected, LostField, Object, Problem, Recalled, Stray, Unstored,
};
pub use state::{Instance, Item, Kinds, Limits, Member, Older, Step, Taken};
