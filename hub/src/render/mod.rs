//! Trees at a commit become objects.

pub mod yaml;
