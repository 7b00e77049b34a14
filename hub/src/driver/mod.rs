//! The loop around the hub's step function.
