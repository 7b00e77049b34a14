//! The command as it is typed: the real binary against a hub in memory, over real TLS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod fake;
mod follow;
mod golden;
mod orders;
mod setup;
