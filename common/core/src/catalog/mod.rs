//! Repositories' declarations: which app runs on which clusters, as read at a commit.

pub mod application;
pub mod decide;
pub mod declared;
pub mod fields;
pub mod object_rules;
#[cfg(test)]
mod placement_tests;
pub mod resolve;
pub mod state;
#[cfg(test)]
mod tests;

pub use application::{Dialect, Parsed, dialect, parse};
pub use decide::{Reading, Unreadable, read};
pub use declared::{Declared, Destination, MaxDeletes, Refused, Render, SyncPolicy, Warning};
pub use resolve::{Placement, placements};
pub use state::{Listing, Root, State, evolve};
