//! Given, when, then: the hub's step function over a model of the world around it.

mod delivery;
mod fleet;
mod owed;
mod property;
mod world;
