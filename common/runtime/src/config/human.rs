//! Times and sizes as people write them, always with a unit.

use std::fmt;
use std::time::Duration;

/// A time such as `500ms`, `30s`, `1h30m`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

/// A size such as `64KiB`, `32MiB`, `1GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanBytes(pub u64);

/// Units of time in milliseconds, largest first.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size in bytes; the binary ones first, because they are used for printing.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl HumanDuration {
    /// Reads one or more whole numbers, each with `d`, `h`, `m`, `s` or `ms`; `None` for any other text.
    pub fn parse(text: &str) -> Option<HumanDuration> {
        let mut rest = text.trim();
        let mut total: u64 = 0;
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let (number, after) = split_number(rest)?;
            let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            let (_, ms) = TIMES.iter().find(|(name, _)| *name == unit)?;
            total = total.checked_add(number.checked_mul(*ms)?)?;
            rest = after;
        }
        Some(HumanDuration(Duration::from_millis(total)))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return out.write_str("0s");
        }
        for (unit, ms) in TIMES {
            if rest >= ms {
                write!(out, "{}{unit}", rest / ms)?;
                rest %= ms;
            }
        }
        Ok(())
    }
}

impl HumanBytes {
    /// Reads one whole number with `B`, `kB`, `MB`, `GB`, `KiB`, `MiB` or `GiB`; `None` for any other text.
    pub fn parse(text: &str) -> Option<HumanBytes> {
        let (number, unit) = split_number(text.trim())?;
        let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit.trim_start())?;
        number.checked_mul(*bytes).map(HumanBytes)
    }
}

impl fmt::Display for HumanBytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = SIZES[..3].iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        let (unit, bytes) = binary.copied().unwrap_or(("B", 1));
        write!(out, "{}{unit}", self.0 / bytes)
    }
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written_with_their_unit() {
        for (text, ms) in
            [("500ms", 500), ("30s", 30_000), ("1h30m", 5_400_000), ("7d", 604_800_000), ("0s", 0)]
        {
            let read = HumanDuration::parse(text).unwrap();
            assert_eq!((read.0.as_millis(), read.to_string().as_str()), (ms, text));
        }
        assert_eq!(HumanDuration::parse("90s").unwrap().to_string(), "1m30s");
        for bad in ["", "30", "s", "1.5s", "-1s", "30 sec", "99999999999999999999s", "9999999999999999d"] {
            assert_eq!(HumanDuration::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_and_written_with_their_unit() {
        for (text, bytes) in
            [("512B", 512), ("64KiB", 65_536), ("32MiB", 33_554_432), ("2GiB", 2_147_483_648)]
        {
            let read = HumanBytes::parse(text).unwrap();
            assert_eq!((read.0, read.to_string().as_str()), (bytes, text));
        }
        assert_eq!(HumanBytes::parse("1 MB").unwrap().0, 1_000_000);
        for bad in ["", "32", "MiB", "1.5MiB", "1TB", "99999999999GiB"] {
            assert_eq!(HumanBytes::parse(bad), None, "{bad}");
        }
    }
}
