//! The command as it is typed: the real binary against a hub in memory, over real TLS.

mod fake;
mod follow;
mod golden;
mod orders;
mod setup;
