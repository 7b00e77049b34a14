//! From what people type to what the state knows: apps by name, sources by URL.

use super::sight::known_apps;
use crate::api::Error;
use crate::api::service::AppName;
use std::collections::BTreeSet;
use taffrail_core::id::{AppId, SourceName};
use taffrail_core::node::hub::Durable;

/// Longest name of a source, in characters ([`SourceName`]).
const SOURCE_NAME_MAX: usize = 63;

/// Most sources of one base name that are told apart by a number.
const SAME_NAME_MAX: usize = 1_000;

/// The app that a name means.
pub(super) fn resolve(state: &Durable, name: &AppName) -> Result<AppId, Error> {
    let matching: BTreeSet<AppId> = known_apps(state)
        .filter(|app| {
            app.name == name.name && name.source.as_ref().is_none_or(|source| *source == app.source)
        })
        .collect();
    let mut found = matching.iter();
    match (found.next(), found.next()) {
        (None, _) => Err(Error::NotFound { what: "app", name: shown(name) }),
        (Some(app), None) => Ok(app.clone()),
        (Some(first), Some(_)) => {
            let all: Vec<String> = matching.iter().map(ToString::to_string).collect();
            Err(Error::invalid(
                format!("{} is not one app", name.name),
                format!("These sources declare one of this name: {}.", all.join(", ")),
                format!("write {first}"),
            ))
        }
    }
}

/// The name as it was typed.
pub(super) fn shown(name: &AppName) -> String {
    name.source.as_ref().map_or_else(|| name.name.to_string(), |source| format!("{source}/{}", name.name))
}

/// A name for a repository that no source has: the last part of its URL, with a number if that is taken.
pub(super) fn derive(url: &str, is_taken: impl Fn(&SourceName) -> bool) -> Option<SourceName> {
    let last = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let mut base = String::new();
    for letter in last.strip_suffix(".git").unwrap_or(last).chars() {
        let letter = letter.to_ascii_lowercase();
        if letter.is_ascii_lowercase() || letter.is_ascii_digit() {
            base.push(letter);
        } else if !base.is_empty() && !base.ends_with('-') {
            base.push('-');
        }
    }
    let base = match base.trim_end_matches('-') {
        "" => "source",
        base => base,
    };
    (1..=SAME_NAME_MAX).find_map(|number| {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let kept = base.get(..SOURCE_NAME_MAX - suffix.len()).unwrap_or(base);
        let name = SourceName::parse(&format!("{kept}{suffix}")).ok()?;
        (!is_taken(&name)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_called_after_the_last_part_of_its_url() {
        let long = format!("https://git.example.com/{}", "x".repeat(80));
        for (url, taken, expected) in [
            ("https://git.example.com/team/Fleet.git", vec![], "fleet"),
            ("https://git.example.com/team/fleet/", vec!["fleet"], "fleet-2"),
            ("https://git.example.com/team/fleet", vec!["fleet", "fleet-2"], "fleet-3"),
            ("https://git.example.com/a_b..c.git", vec![], "a-b-c"),
            ("https://git.example.com/___", vec![], "source"),
            (long.as_str(), vec![], &"x".repeat(63)),
        ] {
            let name = derive(url, |name| taken.contains(&name.as_str())).unwrap();
            assert_eq!(name.as_str(), expected, "{url}");
        }
    }
}
