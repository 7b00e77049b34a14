//! Everything that leaves a process: stored events, desired state, receipts, the API.

pub mod api;
pub mod bundle;
pub mod join;
pub mod seal;
pub mod sign;
pub mod subject;
pub mod v1;
