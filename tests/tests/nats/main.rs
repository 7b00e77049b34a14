//! The bus on a real nats-server: the whole path, who may do what, and what breaks.

mod breaks;
mod ground;
mod path;
mod rights;
mod server;
