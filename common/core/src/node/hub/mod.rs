//! The hub as a step function: sources, catalog, clusters and planner over one log.
//!
//! ```text
//!  Input ──► decide ──► events ──► evolve ──► settle (plan dirty clusters) ──► owed ──► Effect
//! ```
//! State = [`Durable`] (what `evolve` makes of the log, nothing else) + volatile knowledge, which starts as unknown and
//! may be lost at any instant. Debts in the planner's sense end by an event (a bundle sealed) or by a volatile
//! observation (an index published) and are looked at again after a restart.

mod ask;
mod command;
mod considered;
mod debt;
mod durable;
mod epochs;
mod ingest;
mod input;
mod plan;
mod reading;
mod silence;
mod step;
#[cfg(test)]
mod tests;

pub use command::{Command, Rejected};
pub use debt::{Debt, Effect, Previous};
pub use durable::Durable;
pub use input::{Append, Foreign, Input, Outcome, Outputs, Rendered, Reply, Settings};
pub use reading::{Newer, ReadOnly};
pub use step::Hub;
