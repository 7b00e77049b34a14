//! What the suites on real parts share: clusters that start and end with a test, the programs they are made of, and
//! the demo, which is told with the same parts.

pub mod alone;
pub mod bench;
pub mod cluster;
pub mod contract;
pub mod demo;
pub mod harness;
pub mod tree;
