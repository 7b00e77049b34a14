//! The simulator: the step functions of hub and agents in a seeded world without an async runtime.
//!
//! ```text
//!  seed ──► plan (bounds, faults, actions) ──► world ──► outcome (what is wrong, what occurred, the story)
//!            hub: driver ► step ► log    network, clocks, disks, Git, API servers, people    agents: driver ► step ► journal
//!                                              check: judges from the world's truth
//! ```
//! Bytes on the simulated wire and disks are the real ones of `taffrail-proto`. The judge calls nothing that decides.

mod api;
pub mod arguments;
mod axis;
mod broker;
mod check;
mod disk;
mod git;
mod hub;
mod hub_reply;
mod hub_work;
mod identity;
mod kept;
mod kube;
mod many;
mod outbox;
mod people;
pub mod plan;
mod prove;
mod random;
mod rest;
mod restore;
mod round;
pub mod shrink;
mod site;
mod site_disk;
mod site_life;
mod site_work;
pub mod situation;
mod world;

pub use many::{Many, live_all};
pub use world::{Outcome, live};
