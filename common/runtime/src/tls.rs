//! TLS settings and certificates that reload.
