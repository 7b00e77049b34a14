//! Timestamps as Kubernetes writes them (RFC 3339), read without a calendar library.

use crate::time::At;

/// Reads `2026-11-05T10:20:30Z`, with an optional fraction and an offset instead of `Z`; `None` for anything else
/// and for times before 1970.
pub fn at_of(text: &str) -> Option<At> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (number(date.next()?)?, number(date.next()?)?, number(date.next()?)?);
    let zone_start = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_start);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut clock = clock.splitn(3, ':');
    let (hour, minute, second) = (number(clock.next()?)?, number(clock.next()?)?, number(clock.next()?)?);
    let in_range =
        (1970..=9_999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24;
    if !in_range || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let local_ms = seconds * 1_000 + milliseconds(fraction)?;
    u64::try_from(local_ms - offset_ms(zone)?).ok().map(At)
}

fn number(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// The first three digits of a fraction of a second.
fn milliseconds(fraction: &str) -> Option<i64> {
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.bytes().chain(core::iter::repeat(b'0')).take(3);
    Some(digits.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

fn offset_ms(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first()? {
        b'Z' | b'z' => return (zone.len() == 1).then_some(0),
        b'+' => 1,
        _ => -1,
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    Some(sign * (number(hours)? * 3_600 + number(minutes)? * 60) * 1_000)
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar; years are counted from March so that the leap day is last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_kubernetes_are_read() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2026-11-05T10:20:30Z", 1_793_874_030_000),
            ("2026-11-05T10:20:30.123456Z", 1_793_874_030_123),
            ("2026-11-05T12:20:30+02:00", 1_793_874_030_000),
            ("2026-11-05T10:20:30.5Z", 1_793_874_030_500),
        ] {
            assert_eq!(at_of(text), Some(At(ms)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not_a_stamp() {
        for text in
            ["", "T", "2026-11-05", "2026-13-05T10:20:30Z", "2026-11-05T10:20:30", "1969-12-31T23:59:59Z"]
        {
            assert_eq!(at_of(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = at_of(&text);
        }
    }
}
