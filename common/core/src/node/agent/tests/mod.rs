//! The agent against a model cluster: what is applied, healed, pruned, held, and what is said of it.

mod cost;
mod deliver;
mod drifts;
mod indexes;
mod model;
mod property;
mod removal;
mod restored;
