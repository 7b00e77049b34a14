//! Times and spans as people write and read them.

use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use crate::error::Error;

/// Longest span that is taken, in days: ten years, so that sums of times cannot overflow.
const DAYS_MAX: u64 = 3_660;

/// Reads a point in time: RFC 3339, a date, a time of day (today, or yesterday if it is still to come), or a span
/// ago such as `10m`. Milliseconds since the Unix epoch.
///
/// # Errors
/// A usage error that lists the forms.
pub fn parse_at(text: &str, now: &Zoned) -> Result<u64, Error> {
    let bad = || {
        Error::usage(
            format!("{text:?} is not a time"),
            "write 2026-11-24T14:05:00Z, 2026-11-24, 14:05, or a span ago such as 10m",
        )
    };
    let zone = now.time_zone().clone();
    let at = if let Ok(timestamp) = text.parse::<Timestamp>() {
        timestamp
    } else if let Ok(date) = text.parse::<Date>() {
        date.to_zoned(zone).map_err(|_| bad())?.timestamp()
    } else if text.contains(':') {
        let time: Time = text.parse().map_err(|_| bad())?;
        let today = now.date().to_datetime(time).to_zoned(zone).map_err(|_| bad())?;
        let past = if today > *now { today.checked_sub(1.day()).map_err(|_| bad())? } else { today };
        past.timestamp()
    } else {
        let ago = text.strip_suffix("ago").unwrap_or(text).trim();
        let span = parse_span(ago).map_err(|_| bad())?;
        let earlier = i64::try_from(span.as_millis()).map_err(|_| bad())?;
        return u64::try_from(now.timestamp().as_millisecond().saturating_sub(earlier)).map_err(|_| bad());
    };
    u64::try_from(at.as_millisecond()).map_err(|_| bad())
}

/// Reads a span such as `90s`, `5m`, `1h30m`, `2d` or `500ms`.
///
/// # Errors
/// A usage error that lists the forms.
pub fn parse_span(text: &str) -> Result<Duration, Error> {
    let bad = || Error::usage(format!("{text:?} is not a span of time"), "write 500ms, 90s, 5m, 1h30m or 2d");
    let mut total_ms: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_lowercase).count();
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit_ms: u64 = match &rest[digits..digits + letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        total_ms = number.checked_mul(unit_ms).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(bad)?;
        rest = &rest[digits + letters..];
    }
    if total_ms > DAYS_MAX * 86_400_000 {
        return Err(bad());
    }
    Ok(Duration::from_millis(total_ms))
}

/// Now, in the time zone of whoever reads.
pub fn now() -> Zoned {
    Timestamp::now().to_zoned(TimeZone::system())
}

/// A time as machines read it: RFC 3339 in UTC; `None` for zero, which means never.
pub fn rfc3339(at_ms: u64) -> Option<String> {
    stamp(at_ms).map(|at| format!("{at:.3}"))
}

/// A time as people read it, in their zone; `never` for zero.
pub fn local(at_ms: u64) -> String {
    match stamp(at_ms) {
        Some(at) => at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => "never".to_owned(),
    }
}

/// How long before `now_ms` something was, both on the hub's clock; `None` if it never was.
pub fn ago_ms(at_ms: u64, now_ms: u64) -> Option<u64> {
    (at_ms != 0).then(|| now_ms.saturating_sub(at_ms))
}

/// An age in words: `3s ago`, or `never`.
pub fn ago(age_ms: Option<u64>) -> String {
    age_ms.map_or_else(|| "never".to_owned(), |ms| format!("{} ago", short(ms)))
}

/// A span in its one or two largest units, as `kubectl` shows ages.
pub fn short(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    if ms < 1_000 {
        format!("{ms}ms")
    } else if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        format!("{minutes}m{}s", seconds % 60)
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 48 {
        format!("{hours}h")
    } else {
        format!("{days}d")
    }
}

fn stamp(at_ms: u64) -> Option<Timestamp> {
    if at_ms == 0 {
        return None;
    }
    Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Zoned {
        "2026-11-24T12:00:00+01:00[Europe/Berlin]".parse().unwrap()
    }

    #[test]
    fn times_are_read_in_every_documented_form() {
        let cases = [
            ("2026-11-24T10:00:00Z", "2026-11-24T10:00:00.000Z"),
            ("2026-11-24T10:00:00+02:00", "2026-11-24T08:00:00.000Z"),
            ("2026-11-20", "2026-11-19T23:00:00.000Z"),
            ("11:59", "2026-11-24T10:59:00.000Z"),
            ("11:59:30", "2026-11-24T10:59:30.000Z"),
            ("12:01", "2026-11-23T11:01:00.000Z"), // still to come today, so it was yesterday's
            ("10m", "2026-11-24T10:50:00.000Z"),
            ("1h30m", "2026-11-24T09:30:00.000Z"),
            ("2d ago", "2026-11-22T11:00:00.000Z"),
        ];
        for (text, expected) in cases {
            let at = parse_at(text, &noon()).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(rfc3339(at).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn nonsense_is_not_a_time() {
        for text in
            ["", "yesterday", "25:00", "10", "m", "10x", "99999999d", "-5m", "10m5", "18446744073709551615d"]
        {
            assert!(parse_at(text, &noon()).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_are_short() {
        let cases = [
            (0, "0ms"),
            (999, "999ms"),
            (3_000, "3s"),
            (119_999, "119s"),
            (120_000, "2m0s"),
            (605_000, "10m"),
            (3 * 3_600_000, "3h"),
            (48 * 3_600_000, "2d"),
        ];
        for (ms, expected) in cases {
            assert_eq!(short(ms), expected);
        }
    }

    #[test]
    fn what_never_happened_has_no_age() {
        assert_eq!(ago(ago_ms(0, 5_000)), "never");
        assert_eq!(ago(ago_ms(2_000, 5_000)), "3s ago");
        assert_eq!(ago(ago_ms(6_000, 5_000)), "0ms ago");
    }
}
