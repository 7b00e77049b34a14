//! The agent as a step function: one index in, an instance per app, one watch set, facts out.
//!
//! The agent is state-stored: what [`Outputs::dirty`] names is written to the journal before any effect is carried out.

mod input;
mod step;
#[cfg(test)]
mod tests;

pub use input::{Act, Held, Input, Outputs, Stored};
pub use step::Agent;
