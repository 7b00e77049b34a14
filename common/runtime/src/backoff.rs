//! Retry delays with a bound, without a clock: the caller brings the attempt's number and the jitter.

use std::time::Duration;

/// How delays grow from one attempt to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Delay after the first failure.
    pub first: Duration,
    /// What each further failure multiplies the delay by; at least 1.
    pub factor: u32,
    /// The delay never exceeds this.
    pub limit: Duration,
    /// How much of the delay is left to chance, in percent (0 to 100): spreads a fleet that failed at one moment.
    pub jitter_percent: u32,
}

impl Backoff {
    /// For calls over the network: 0.5 s, doubled up to 30 s, half of it by chance.
    ///
    /// 30 s is the lease of a cluster: whoever retries more slowly is called silent although it lives.
    pub const NETWORK: Backoff = Backoff {
        first: Duration::from_millis(500),
        factor: 2,
        limit: Duration::from_secs(30),
        jitter_percent: 50,
    };

    /// The delay after failure number `attempt` (1 is the first), with `chance` between 0 and 1.
    ///
    /// The result lies between `(1 - jitter) * delay` and `delay`, and never exceeds the limit.
    pub fn delay(&self, attempt: u32, chance: f64) -> Duration {
        let mut full = self.first.min(self.limit);
        for _ in 1..attempt.max(1) {
            if self.factor <= 1 || full.is_zero() || full == self.limit {
                break;
            }
            full = full.saturating_mul(self.factor).min(self.limit);
        }
        let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 1.0 };
        let spread = f64::from(self.jitter_percent.min(100)) / 100.0;
        full.mul_f64(1.0 - spread + spread * chance).min(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Backoff = Backoff {
        first: Duration::from_secs(1),
        factor: 3,
        limit: Duration::from_secs(20),
        jitter_percent: 0,
    };

    #[test]
    fn delays_grow_by_the_factor_up_to_the_limit() {
        for (attempt, seconds) in [(0, 1), (1, 1), (2, 3), (3, 9), (4, 20), (5, 20), (u32::MAX, 20)] {
            assert_eq!(PLAIN.delay(attempt, 1.0), Duration::from_secs(seconds), "{attempt}");
        }
    }

    #[test]
    fn chance_takes_away_at_most_the_jitter() {
        let half = Backoff { jitter_percent: 50, ..PLAIN };
        for (chance, ms) in
            [(0.0, 500), (0.5, 750), (1.0, 1_000), (7.0, 1_000), (-1.0, 500), (f64::NAN, 1_000)]
        {
            assert_eq!(half.delay(1, chance), Duration::from_millis(ms), "{chance}");
        }
    }

    #[test]
    fn a_factor_of_one_or_a_first_delay_of_zero_stays_what_it_is() {
        assert_eq!(Backoff { factor: 1, ..PLAIN }.delay(u32::MAX, 1.0), Duration::from_secs(1));
        assert_eq!(Backoff { first: Duration::ZERO, ..PLAIN }.delay(u32::MAX, 1.0), Duration::ZERO);
    }
}
