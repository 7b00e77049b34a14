//! The bus on a real nats-server: the whole path, who may do what, and what breaks.

#![allow(clippy::unwrap_used, reason = "all of it is tests, helpers too")]

mod breaks;
mod ground;
mod path;
mod rights;
mod server;
