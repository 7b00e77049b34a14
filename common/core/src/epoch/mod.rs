//! Hub epochs: a log that is older than what its fleet holds, the grant that begins a new epoch, and what is taken over.
//!
//! ```text
//!  serving ──LogBehind──► read-only ──EpochRaised (grant of the offline key)──► serving, no cluster adopted
//!     │                                                                             │ a cluster shows what it holds
//!     └──EpochRaised──► ...                                                         ▼
//!                                                             EventsLost, ClusterAdopted: its index may change again
//! ```

pub mod decide;
pub mod state;
#[cfg(test)]
mod tests;

pub use decide::{Rejected, adoption, behind, highest, lost, older_than_file, raise};
pub use state::{Behind, Evidence, Grant, GrantKind, State, evolve};
