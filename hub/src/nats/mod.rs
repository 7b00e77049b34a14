//! The NATS server's identities and its process.
