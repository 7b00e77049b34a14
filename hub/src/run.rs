//! Wiring of the hub.
