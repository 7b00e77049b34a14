//! Logs and traces, set up once.
