//! Parts for tests and the demo.

pub mod apiserver;
pub mod githttp;
pub mod sender;
pub mod small_disk;
