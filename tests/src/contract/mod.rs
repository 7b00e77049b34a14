//! Contracts: sentences that must hold of a stand-in and of the real part alike, run against both.

pub mod kube;
pub mod kube_port;
