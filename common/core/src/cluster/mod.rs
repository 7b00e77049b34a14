//! One cluster: invited, joined, heard of, silent, leaving, removed; and the chain of its events.
//!
//! ```text
//!  ClusterInvited ──► invited ──ClusterJoined──► joined ──ClusterLeaving──► leaving ──ClusterRemoved──► gone
//!                                                 │  ▲
//!                                   ClusterSilent ▼  │ ClusterBack
//!                                                silent
//! ```

pub mod decide;
pub mod ingest;
pub mod state;
#[cfg(test)]
mod tests;

pub use decide::{Command, JoinRequest, Rejected, TokenRefused, decide, join};
pub use ingest::{Batch, Ingested, Link, Proof, Vitals, ingest};
pub use state::{Chain, Cluster, Enrolment, Invitation, Number, State, evolve};
