//! Desired against live: what is applied in which order, what may be deleted, which difference is a fight.

pub mod fight;
pub mod plan;
pub mod prune;
#[cfg(test)]
mod tests;
