//! The services that people and machines call: gRPC and a few HTTP paths on one TLS port.
//!
//! ```text
//! TLS (serve) -> routes (http) -> gRPC: who is it (auth) -> what is asked (grpc, order) -> port Fleet (service)
//! ```
//! The port is implemented over the hub's state and log. What a silent cluster said last is never passed on as if it
//! held now: `honest` sees to that for every answer.

pub mod auth;
pub mod context;
pub mod error;
#[cfg(test)]
mod fake;
pub mod grpc;
mod honest;
pub mod http;
mod order;
mod page;
mod selector;
pub mod serve;
pub mod service;
mod stream;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use service::{Answer, AppName, Caller, Command, Fleet, Order};
