//! Kubernetes objects as the core sees them: keys, trees, order.

pub mod key;

pub use key::Key;
