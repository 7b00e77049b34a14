//! Applications as they are declared in Git.

pub mod application;
pub mod declared;
pub mod fields;
pub mod object_rules;
#[cfg(test)]
mod tests;

pub use application::{Dialect, Parsed, dialect, parse};
pub use declared::{Declared, Destination, MaxDeletes, Refused, Render, SyncPolicy, Warning};
