//! Mirrors of the declared repositories.
