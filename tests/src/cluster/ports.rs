//! Free ports for servers that must be told theirs.

use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Below the range from which Linux takes ports of outgoing connections (32768 up), so that none is taken between
/// asking and starting the server.
const FIRST: u32 = 20_000;
/// How many ports are tried.
const COUNT: u32 = 12_000;
/// Test processes that run at once start this far apart; a prime, so that neighbours in process id do not meet.
const STRIDE: u32 = 97;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port on 127.0.0.1 that is free now and that this process was not given before.
pub(crate) fn free() -> Result<u16> {
    let start = process::id().wrapping_mul(STRIDE);
    for _ in 0..COUNT {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_or_while_taken() {
        let first = free().unwrap();
        let second = free().unwrap();
        assert_ne!(first, second);
        let _taken = TcpListener::bind(("127.0.0.1", first)).unwrap();
        NEXT.fetch_sub(2, Ordering::Relaxed);
        assert_ne!(free().unwrap(), first);
    }
}
