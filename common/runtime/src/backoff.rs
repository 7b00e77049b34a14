//! Retry delays with a bound.
