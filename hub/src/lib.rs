//! The hub: follows Git, renders, plans, signs desired state, and keeps the log.

mod administrators;
pub mod api;
pub mod bus;
pub mod config;
pub mod driver;
pub mod fleet;
pub mod git;
pub mod hook;
pub mod join;
pub mod log;
pub mod metrics;
pub mod nats;
pub mod perform;
pub mod render;
pub mod restore;
pub mod run;
pub mod tls;
