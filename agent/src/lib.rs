//! The agent: verifies desired state, applies it, watches it and reports every fact.

pub mod bus;
pub mod config;
pub mod driver;
pub mod identity;
pub mod journal;
pub mod kube;
pub mod mark;
pub mod park;
pub mod perform;
pub mod probes;
pub mod run;
