//! The oldest nats-server that keeps clusters apart.

use super::Error;

/// Lowest patch of each release line that has the fixes of advisories 2026-16 and 2026-18; every later minor
/// release from 2.14 on has them.
const FLOORS: [(u32, u32, u32); 2] = [(2, 11, 16), (2, 12, 7)];
/// First minor release that has the fixes from its start.
const FIXED_FROM: (u32, u32) = (2, 14);

/// Checks a version as nats-server says it: `2.15.1`, `v2.15.1` or `nats-server: v2.15.1`.
///
/// # Errors
/// [`Error::TooOld`] for an older one, a pre-release of the floor, and for text that is no version.
pub fn check(said: &str) -> Result<(), Error> {
    let version = said.trim().rsplit(' ').next().unwrap_or_default().trim_start_matches('v');
    let too_old = || Error::TooOld { found: version.chars().take(40).collect() };
    let (numbers, released) = match version.split_once(['-', '+']) {
        Some((numbers, _)) => (numbers, version.as_bytes()[numbers.len()] == b'+'),
        None => (version, true),
    };
    let mut parts = numbers.split('.').map(|part| part.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(too_old());
    };
    let floored = FLOORS.iter().any(|floor| (major, minor) == (floor.0, floor.1) && patch >= floor.2);
    let is_first = (major, minor, patch) == (FIXED_FROM.0, FIXED_FROM.1, 0);
    let fixed = floored || ((major, minor) >= FIXED_FROM && (released || !is_first));
    if fixed { Ok(()) } else { Err(too_old()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_with_the_fixes_are_taken_and_others_refused() {
        let taken = [
            "2.15.1",
            "v2.14.0",
            "nats-server: v2.15.1",
            "2.12.7",
            "2.12.9",
            "2.11.16",
            "3.0.0",
            "2.15.0-RC.1",
        ];
        let refused =
            ["2.9.10", "2.11.15", "2.12.6", "2.13.9", "1.99.0", "2.14.0-RC.1", "", "2.15", "2.15.1.1", "x"];
        for version in taken {
            assert!(check(version).is_ok(), "{version}");
        }
        for version in refused {
            assert!(matches!(check(version), Err(Error::TooOld { .. })), "{version}");
        }
    }
}
