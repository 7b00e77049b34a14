//! Golden bytes and round trips.
