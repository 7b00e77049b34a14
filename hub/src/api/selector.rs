//! Label selectors as `kubectl -l` takes them.

use std::collections::BTreeMap;

use super::Error;

/// Longest selector, in bytes, and most requirements in it.
const BYTES_MAX: usize = 4_096;
const REQUIREMENTS_MAX: usize = 64;

/// All requirements must hold; none matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
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
        if parts.len() > REQUIREMENTS_MAX {
            return Err(bad("it has more than 64 requirements"));
        }
        let read: Option<Vec<Requirement>> = parts.into_iter().map(requirement).collect();
        read.map(Selector).ok_or_else(|| bad("one of its requirements has no form that is known"))
    }

    /// Whether labels satisfy every requirement.
    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.operator {
                Operator::In(values) => value.is_some_and(|value| values.contains(value)),
                Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }
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

fn requirement(text: &str) -> Option<Requirement> {
    let make = |key: &str, operator: Operator| {
        let key = key.trim();
        is_key(key).then(|| Requirement { key: key.to_owned(), operator })
    };
    if let Some((key, value)) = text.split_once("!=") {
        return make(key, Operator::NotIn(vec![value_of(value)?]));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return make(key, Operator::In(vec![value_of(value)?]));
    }
    if let Some((head, list)) = text.split_once('(') {
        let values: Option<Vec<String>> = list.strip_suffix(')')?.split(',').map(value_of).collect();
        let mut words = head.split_whitespace();
        let (key, word, end) = (words.next()?, words.next()?, words.next());
        return match (word, end) {
            ("in", None) => make(key, Operator::In(values?)),
            ("notin", None) => make(key, Operator::NotIn(values?)),
            _ => None,
        };
    }
    match text.strip_prefix('!') {
        Some(key) => make(key, Operator::DoesNotExist),
        None => make(text, Operator::Exists),
    }
}

fn value_of(text: &str) -> Option<String> {
    let text = text.trim();
    (text.len() <= 63 && text.chars().all(is_label_letter)).then(|| text.to_owned())
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
    value_of(text).as_deref() == Some(text)
}

fn is_label_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
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
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
