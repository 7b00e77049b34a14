//! Which bundle each cluster should run: bundles, desired indexes, and the plans between them.
//!
//! A plan is immutable: the changes of one cluster's index, a reason per line, against the mark it replaces. Planning
//! again after its event changes nothing.

pub mod plan;
pub mod state;
#[cfg(test)]
mod tests;
pub mod variant;

pub use plan::plan;
pub use state::{Bundle, Desired, Failure, Report, State, evolve, report};
pub use variant::{Part, Variant};
