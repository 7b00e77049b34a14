//! Trees at a commit become objects.
