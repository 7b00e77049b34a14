//! The agent's keys and how it gets its credentials.
