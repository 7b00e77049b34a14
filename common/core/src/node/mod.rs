//! Hub and agent, each as one synchronous `step(input, at) -> outputs` over its machines.

pub mod agent;
pub mod hub;
