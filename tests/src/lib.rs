//! What the suites on real parts share: clusters that start and end with a test, and the programs they are made of.

pub mod cluster;
pub mod contract;
