//! Chance that comes back with its seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator (`SplitMix64`): enough to spread faults, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A seed from `TAFFRAIL_SEED`, or from the clock; printed, so that a failed test can be run again with it.
    pub fn seed(test: &str) -> u64 {
        let given = std::env::var_os("TAFFRAIL_SEED").and_then(|text| text.to_str()?.parse().ok());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        let seed = given.unwrap_or_else(|| u64::from(clock()));
        eprintln!("{test}: TAFFRAIL_SEED={seed}");
        seed
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }
}
