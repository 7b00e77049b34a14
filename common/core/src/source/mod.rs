//! Sources and the revisions they follow: seen, rewritten, parked, allowed.
//!
//! ```text
//!  unknown ──CommitSeen──► at a head ──CommitSeen──► at the next head
//!                              │ HistoryRewritten
//!                              ▼
//!                            parked ──SourceAllowed──► at the new head
//!                              └──CommitSeen (a descendant of the accepted head)──► at a head
//! ```

pub mod decide;
pub mod state;
#[cfg(test)]
mod tests;

pub use decide::{Command, Rejected, Sighting, decide, sight};
pub use state::{Head, Source, State, Track, TrackState, evolve};
