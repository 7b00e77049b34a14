//! Every decision of Taffrail: no clock, no I/O, no async, no randomness.
//!
//! Each behaviour is a machine with four verbs: `decide` (what may happen), `evolve` (what it changes), `owed`
//! (what is left to do) and `next_wake` (the only timer). [`node::hub`] and [`node::agent`] put the machines of a
//! process behind one `step(input, at) -> outputs`; the binaries are loops around it.
//!
//! Purity is checked by the compiler: without the standard library no clock, file, socket, thread, environment or
//! randomly seeded map can be named here. Time, identifiers and digests arrive in the input.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod catalog;
pub mod cluster;
pub mod desired;
pub mod digest;
pub mod epoch;
pub mod event;
#[cfg(test)]
mod given;
pub mod health;
pub mod id;
pub mod invariant;
pub mod node;
pub mod object;
pub mod outbox;
pub mod planner;
pub mod proof;
pub mod reconcile;
pub mod selector;
pub mod source;
pub mod sync;
pub mod time;
pub mod timers;
