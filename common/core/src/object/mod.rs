//! Kubernetes objects as the core sees them: keys, trees, order, ownership of fields.

pub mod key;
pub mod order;
pub mod owned;
pub mod stamp;

pub use key::Key;
pub use owned::{Lost, Owned, lost};
