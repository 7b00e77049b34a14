//! The addresses of one real node: a block that nobody else on this machine uses.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// How many blocks there are: a /24 each of 198.18.0.0/15, which is set aside for tests (RFC 2544).
const COUNT: u32 = 512;
/// Test processes that run at once start this far apart; without a divisor in common with [`COUNT`].
const STRIDE: u32 = 37;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// 256 addresses: `.1` is this machine as the node sees it, `.2` the node, `.64/26` its pods, `.128/25` services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    second: u8,
    third: u8,
}

impl Block {
    /// One whose first address is nobody's here now, and that this process was not given before.
    pub(super) fn free() -> Result<Block> {
        let start = process::id().wrapping_mul(STRIDE);
        for _ in 0..COUNT {
            let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
            let block =
                Block { second: 18 + u8::try_from(number / 256)?, third: u8::try_from(number % 256)? };
            // Only an address of this machine can be listened on.
            if TcpListener::bind((block.host(), 0)).is_err() {
                return Ok(block);
            }
        }
        bail!("each of {COUNT} blocks of addresses is in use")
    }

    fn address(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, self.second, self.third, last)
    }

    /// This machine, as node and pods see it.
    pub(super) fn host(self) -> Ipv4Addr {
        self.address(1)
    }

    /// The service `kubernetes`.
    pub(super) fn kubernetes(self) -> Ipv4Addr {
        self.address(129)
    }

    /// All services.
    pub(super) fn services(self) -> String {
        format!("{}/25", self.address(128))
    }

    /// What the addresses begin with.
    pub(super) fn prefix(self) -> String {
        format!("198.{}.{}", self.second, self.third)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_block_is_given_twice() {
        let (first, second) = (Block::free().unwrap(), Block::free().unwrap());
        assert_ne!(first, second);
        assert_eq!(first.host().to_string(), format!("{}.1", first.prefix()));
    }
}
