//! Everything that leaves a process: stored events, desired state, receipts, the API.

pub mod api;
pub mod bundle;
pub mod error;
pub mod event;
pub mod grant;
pub mod index;
pub mod join;
pub mod journal;
pub mod proof;
pub mod report;
pub mod seal;
pub mod sign;
pub mod stored;
pub mod subject;
pub mod v1;
