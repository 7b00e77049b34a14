//! What both processes need around their loops.

pub mod backoff;
pub mod clock;
pub mod config;
pub mod nats;
pub mod secret;
pub mod shutdown;
pub mod supervise;
pub mod telemetry;
pub mod tls;
