//! Label selectors as `kubectl -l` takes them.

use serde_json::{Value, json};
use taffrail_core::selector::Selector;

use super::Error;

/// Longest selector, in bytes.
const BYTES_MAX: usize = 4_096;

/// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k`; nothing matches everything.
pub(super) fn parse(text: &str) -> Result<Selector, Error> {
    let bad = |cause: &str| {
        Error::invalid(
            format!("{text:?} is not a label selector"),
            cause,
            "write such as env=prod,region!=us,tier in (web,api),!legacy",
        )
    };
    if text.len() > BYTES_MAX {
        return Err(bad("it is longer than 4096 bytes"));
    }
    if text.trim().is_empty() {
        return Ok(Selector::default());
    }
    let parts = split(text).ok_or_else(|| bad("a parenthesis has no partner"))?;
    let read: Option<Vec<Value>> = parts.into_iter().map(requirement).collect();
    let expressions = read.ok_or_else(|| bad("one of its requirements has no form that is known"))?;
    Selector::parse(&json!({ "matchExpressions": expressions })).map_err(|error| bad(&error.to_string()))
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut open) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' if open => return None,
            '(' => open = true,
            ')' if !open => return None,
            ')' => open = false,
            ',' if !open => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    (!open).then_some(parts)
}

fn requirement(text: &str) -> Option<Value> {
    let make = |key: &str, operator: &str, values: Vec<&str>| {
        let values: Option<Vec<&str>> =
            values.into_iter().map(|value| Some(value.trim()).filter(|value| is_value(value))).collect();
        let key = Some(key.trim()).filter(|key| is_key(key))?;
        Some(match values? {
            none if none.is_empty() => json!({ "key": key, "operator": operator }),
            values => json!({ "key": key, "operator": operator, "values": values }),
        })
    };
    if let Some((key, value)) = text.split_once("!=") {
        return make(key, "NotIn", vec![value]);
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return make(key, "In", vec![value]);
    }
    if let Some((head, list)) = text.split_once('(') {
        let values: Vec<&str> = list.strip_suffix(')')?.split(',').collect();
        let mut words = head.split_whitespace();
        let (key, word, end) = (words.next()?, words.next()?, words.next());
        return match (word, end) {
            ("in", None) => make(key, "In", values),
            ("notin", None) => make(key, "NotIn", values),
            _ => None,
        };
    }
    match text.strip_prefix('!') {
        Some(key) => make(key, "DoesNotExist", Vec::new()),
        None => make(text, "Exists", Vec::new()),
    }
}

/// Whether `text` can be a label's key: an optional prefix, a slash, and a name.
pub(super) fn is_key(text: &str) -> bool {
    let name = text.rsplit_once('/').map_or(text, |(_, name)| name);
    !name.is_empty()
        && name.len() <= 63
        && text.len() <= 317
        && text.chars().all(|c| is_label_letter(c) || c == '/')
}

/// Whether `text` can be a label's value.
pub(super) fn is_value(text: &str) -> bool {
    text.len() <= 63 && text.chars().all(is_label_letter)
}

fn is_label_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn selectors_pick_as_kubectl_does() {
        let labels: BTreeMap<String, String> = [("env", "prod"), ("example.com/tier", "web"), ("empty", "")]
            .map(|(k, v)| (k.into(), v.into()))
            .into();
        let cases = [
            ("", true),
            (" ", true),
            ("env=prod", true),
            ("env==prod", true),
            ("env = prod , example.com/tier = web", true),
            ("env=prod,region=eu", false),
            ("region!=eu", true),
            ("env!=prod", false),
            ("env in (dev, prod)", true),
            ("env notin (dev,prod)", false),
            ("region notin (eu)", true),
            ("env", true),
            ("!env", false),
            ("!region", true),
            ("empty=", true),
        ];
        for (text, expected) in cases {
            let selector = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(selector.matches(&labels), expected, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "=",
            "a=b,,c",
            "a in x",
            "a in (x",
            "a in x)",
            "a (x)",
            "a b",
            "a=b c",
            "a near (x)",
            "((a))",
            "ä=b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
