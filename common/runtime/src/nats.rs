//! Connecting to NATS, in one place.
