//! Parts for tests and the demo.

pub mod apiserver;
pub mod githttp;
