//! A real driver over a log in memory, with effects that do nothing: what goes in is fed by hand, what comes out is read
//! through the ports.

mod house;
mod joining;
mod orders;
mod questions;
mod rows;
