//! How often one address may ask: a bucket per address, without a clock.

use std::collections::BTreeMap;
use std::net::IpAddr;

use taffrail_core::time::At;

/// Requests that one address may make at once: a site whose clusters all come back after a power cut.
const BURST: u64 = 100;
/// One more request every so many milliseconds: a thousand clusters behind one address get through in 90 s.
const EVERY_MS: u64 = 100;
/// Addresses that are remembered; 64 bytes each. Beyond that only known ones get through until some are forgotten.
const ADDRESSES_MAX: usize = 10_000;

/// The buckets.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// Per address: when its bucket will be full again.
    full_at: BTreeMap<IpAddr, u64>,
}

impl Rate {
    /// Whether one more request from `peer` is let through.
    pub(super) fn allow(&mut self, peer: Option<IpAddr>, at: At) -> bool {
        let peer = network(peer.unwrap_or(IpAddr::from([0, 0, 0, 0])));
        if self.full_at.len() >= ADDRESSES_MAX && !self.full_at.contains_key(&peer) {
            self.full_at.retain(|_, full_at| *full_at > at.0);
            if self.full_at.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let full_at = self.full_at.entry(peer).or_insert(at.0);
        let next = (*full_at).max(at.0) + EVERY_MS;
        if next - at.0 > BURST * EVERY_MS {
            return false;
        }
        *full_at = next;
        true
    }
}

/// An IPv6 host has a network of 64 bits to itself, so the network is what is counted.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_gets_through_and_then_one_every_tenth_of_a_second() {
        let mut rate = Rate::default();
        let allowed = (0..200).filter(|_| rate.allow(Some(address("10.0.0.1")), At(5_000))).count();
        assert_eq!(allowed, 100);
        assert!(rate.allow(Some(address("10.0.0.2")), At(5_000)));
        assert!(!rate.allow(Some(address("10.0.0.1")), At(5_099)));
        assert!(rate.allow(Some(address("10.0.0.1")), At(5_100)));
        assert!(!rate.allow(Some(address("10.0.0.1")), At(5_100)));
        let later = (0..200).filter(|_| rate.allow(Some(address("10.0.0.1")), At(60_000))).count();
        assert_eq!(later, 100);
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let mut rate = Rate::default();
        let allowed = (0..200).filter(|i| rate.allow(Some(address(&format!("fd00::{i:x}"))), At(0))).count();
        assert_eq!(allowed, 100);
        assert!(rate.allow(Some(address("fd00:0:0:1::1")), At(0)));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let mut rate = Rate::default();
        let many = |i: u32| Some(IpAddr::from(i.to_be_bytes()));
        let allowed = (0..20_000).filter(|i| rate.allow(many(*i), At(0))).count();
        assert_eq!((allowed, rate.full_at.len()), (ADDRESSES_MAX, ADDRESSES_MAX));
        assert!(rate.allow(many(15_000), At(EVERY_MS)));
        assert_eq!(rate.full_at.len(), 1);
    }
}
