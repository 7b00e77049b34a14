//! The services that people and machines call.
