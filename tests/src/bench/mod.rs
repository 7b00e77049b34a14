//! Benchmarks: the same run, interleaved with what they are compared with, ratio of medians, fsync probe printed.

pub mod agent;
pub mod append;
pub mod commit;
pub mod fleet;
mod floor;
mod probe;
mod report;
mod sender;
pub mod start;
pub mod usage;

pub use report::Report;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Enough to see that a benchmark works.
    Smoke,
    /// Enough to believe its figures.
    Full,
}

/// The middle of some measurements; zero if there are none.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

/// The value that so many percent of the measurements do not exceed.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * percent).div_ceil(100)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert!(median(&values).total_cmp(&3.0).is_eq());
        let cases = [(&values[..], 100, 5.0), (&values, 0, 1.0), (&[], 50, 0.0)];
        for (values, percent, expected) in cases {
            assert!(percentile(values, percent).total_cmp(&expected).is_eq(), "{percent} of {values:?}");
        }
    }
}
