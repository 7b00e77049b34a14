//! Every decision of Taffrail: no clock, no I/O, no async, no randomness.
#![no_std]
extern crate alloc;

pub mod catalog;
pub mod digest;
pub mod health;
pub mod id;
pub mod object;
pub mod selector;
pub mod time;
