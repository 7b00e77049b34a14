//! Given, when, then: the hub's step function over a model of the world around it.

mod agents;
mod debts;
mod delivery;
mod effects;
mod fleet;
mod model;
mod orders;
mod owed;
mod property;
mod restores;
mod world;
