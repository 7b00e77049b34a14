//! NATS subject and stream names, built and parsed here only.
