//! Label selectors, as Kubernetes defines them.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};
use serde_json::Value;

/// Most requirements of one selector: far beyond what people write, and quick to match.
pub const REQUIREMENTS_MAX: usize = 64;
/// Most values of one requirement.
pub const VALUES_MAX: usize = 1_000;

/// A condition on labels; all requirements must hold. Without requirements it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// Key of the label.
    pub key: String,
    /// What must be true of it.
    pub operator: Operator,
}

/// What must be true of a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// The label is there with one of the values.
    In(BTreeSet<String>),
    /// The label is absent, or has none of the values.
    NotIn(BTreeSet<String>),
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// A selector that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct Invalid {
    /// Where, as a JSON pointer from the selector.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
}

fn bad(pointer: impl Into<String>, message: impl Into<String>) -> Invalid {
    Invalid { pointer: pointer.into(), message: message.into() }
}

impl Selector {
    /// Reads `{matchLabels, matchExpressions}`.
    ///
    /// # Errors
    /// [`Invalid`] with the place of an unknown field, a key or value that no label may have, or a wrong type.
    pub fn parse(value: &Value) -> Result<Selector, Invalid> {
        let fields = value.as_object().ok_or_else(|| bad("", "must be a map"))?;
        let mut requirements = Vec::new();
        for (name, value) in fields {
            match name.as_str() {
                _ if value.is_null() => {}
                "matchLabels" => match_labels(value, &mut requirements)?,
                "matchExpressions" => match_expressions(value, &mut requirements)?,
                _ => {
                    return Err(bad(
                        format!("/{name}"),
                        "unknown field: matchLabels and matchExpressions are known",
                    ));
                }
            }
        }
        if requirements.len() > REQUIREMENTS_MAX {
            return Err(bad("", format!("more than {REQUIREMENTS_MAX} requirements")));
        }
        requirements.sort();
        Ok(Selector { requirements })
    }

    /// A selector of requirements that were checked before.
    pub fn new(requirements: Vec<Requirement>) -> Selector {
        Selector { requirements }
    }

    /// The requirements, sorted.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether `labels` meet every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|one| {
            let found = labels.get(&one.key);
            match &one.operator {
                Operator::In(values) => found.is_some_and(|value| values.contains(value)),
                Operator::NotIn(values) => found.is_none_or(|value| !values.contains(value)),
                Operator::Exists => found.is_some(),
                Operator::DoesNotExist => found.is_none(),
            }
        })
    }
}

fn match_labels(value: &Value, requirements: &mut Vec<Requirement>) -> Result<(), Invalid> {
    let labels = value.as_object().ok_or_else(|| bad("/matchLabels", "must be a map"))?;
    for (key, value) in labels {
        let pointer = format!("/matchLabels/{}", key.replace('~', "~0").replace('/', "~1"));
        check_key(key).map_err(|rule| bad(pointer.clone(), rule))?;
        let text = value.as_str().ok_or_else(|| bad(pointer.clone(), "must be text (quote it)"))?;
        check_value(text).map_err(|rule| bad(pointer, rule))?;
        let operator = Operator::In(BTreeSet::from([text.to_string()]));
        requirements.push(Requirement { key: key.clone(), operator });
    }
    Ok(())
}

fn match_expressions(value: &Value, requirements: &mut Vec<Requirement>) -> Result<(), Invalid> {
    let items = value.as_array().ok_or_else(|| bad("/matchExpressions", "must be a list"))?;
    for (at, item) in items.iter().enumerate() {
        let pointer = format!("/matchExpressions/{at}");
        let fields = item.as_object().ok_or_else(|| bad(pointer.clone(), "must be a map"))?;
        if let Some(name) = fields.keys().find(|name| !matches!(name.as_str(), "key" | "operator" | "values"))
        {
            return Err(bad(
                format!("{pointer}/{name}"),
                "unknown field: key, operator and values are known",
            ));
        }
        let text = |name: &str| {
            let found = fields.get(name).and_then(Value::as_str);
            found.ok_or_else(|| bad(format!("{pointer}/{name}"), "must be text"))
        };
        let key = text("key")?;
        check_key(key).map_err(|rule| bad(format!("{pointer}/key"), rule))?;
        let values = values_of(fields.get("values"), &pointer)?;
        let operator = match (text("operator")?, values.is_empty()) {
            ("In", false) => Operator::In(values),
            ("NotIn", false) => Operator::NotIn(values),
            ("Exists", true) => Operator::Exists,
            ("DoesNotExist", true) => Operator::DoesNotExist,
            ("In" | "NotIn", true) => return Err(bad(format!("{pointer}/values"), "must not be empty")),
            ("Exists" | "DoesNotExist", false) => {
                return Err(bad(format!("{pointer}/values"), "must be empty"));
            }
            _ => {
                let message = "must be In, NotIn, Exists or DoesNotExist";
                return Err(bad(format!("{pointer}/operator"), message));
            }
        };
        requirements.push(Requirement { key: key.to_string(), operator });
    }
    Ok(())
}

fn values_of(value: Option<&Value>, pointer: &str) -> Result<BTreeSet<String>, Invalid> {
    let items = match value {
        None | Some(Value::Null) => return Ok(BTreeSet::new()),
        Some(Value::Array(items)) if items.len() <= VALUES_MAX => items,
        Some(Value::Array(_)) => {
            return Err(bad(format!("{pointer}/values"), format!("more than {VALUES_MAX}")));
        }
        Some(_) => return Err(bad(format!("{pointer}/values"), "must be a list")),
    };
    let mut values = BTreeSet::new();
    for (at, item) in items.iter().enumerate() {
        let pointer = format!("{pointer}/values/{at}");
        let text = item.as_str().ok_or_else(|| bad(pointer.clone(), "must be text (quote it)"))?;
        check_value(text).map_err(|rule| bad(pointer, rule))?;
        values.insert(text.to_string());
    }
    Ok(values)
}

/// Checks the key of a label: an optional prefix (a DNS name) and `/`, then 1 to 63 of `A-Z a-z 0-9 - _ .`.
///
/// # Errors
/// The rule that it breaks.
pub fn check_key(key: &str) -> Result<(), &'static str> {
    let name = match key.split_once('/') {
        None => key,
        Some((prefix, name)) if is_dns_name(prefix) => name,
        Some(_) => return Err("the prefix of a label's key must be a DNS name"),
    };
    if is_word(name) {
        Ok(())
    } else {
        Err("a label's key is 1 to 63 of A-Z, a-z, 0-9, -, _ and ., with a letter or digit at both ends")
    }
}

/// Checks the value of a label: empty, or 1 to 63 of `A-Z a-z 0-9 - _ .`.
///
/// # Errors
/// The rule that it breaks.
pub fn check_value(value: &str) -> Result<(), &'static str> {
    if value.is_empty() || is_word(value) {
        Ok(())
    } else {
        Err("a label's value is at most 63 of A-Z, a-z, 0-9, -, _ and ., with a letter or digit at both ends")
    }
}

fn is_word(text: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    bytes.len() <= 63 && is_end(bytes.first()) && is_end(bytes.last()) && text.bytes().all(allowed)
}

fn is_dns_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= 253
        && text.split('.').all(|part| {
            !part.is_empty() && !part.starts_with('-') && !part.ends_with('-') && part.bytes().all(allowed)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn requirements_are_all_needed() {
        let expression = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "env", "operator": operator, "values": values}]});
        for (selector, given, wanted) in [
            (json!({}), "", true),
            (json!({"matchLabels": null}), "", true),
            (json!({"matchLabels": {"env": "prod"}}), "env=prod,a=b", true),
            (json!({"matchLabels": {"env": "prod"}}), "env=test", false),
            (json!({"matchLabels": {"env": "prod", "a": "b"}}), "env=prod", false),
            (expression("In", &["prod", "test"]), "env=test", true),
            (expression("In", &["prod"]), "", false),
            (expression("NotIn", &["prod"]), "", true),
            (expression("NotIn", &["prod"]), "env=prod", false),
            (expression("Exists", &[]), "env=", true),
            (expression("Exists", &[]), "a=b", false),
            (expression("DoesNotExist", &[]), "a=b", true),
            (expression("DoesNotExist", &[]), "env=x", false),
        ] {
            assert_eq!(
                Selector::parse(&selector).unwrap().matches(&labels(given)),
                wanted,
                "{selector} {given}"
            );
        }
    }

    #[test]
    fn a_bad_selector_is_refused_with_its_place() {
        for (selector, pointer) in [
            (json!([]), ""),
            (json!({"matchLabel": {}}), "/matchLabel"),
            (json!({"matchLabels": {"a/b/c": "x"}}), "/matchLabels/a~1b~1c"),
            (json!({"matchLabels": {"UPPER.example.com/x": "x"}}), "/matchLabels/UPPER.example.com~1x"),
            (json!({"matchLabels": {"a": true}}), "/matchLabels/a"),
            (json!({"matchLabels": {"a": "-x"}}), "/matchLabels/a"),
            (json!({"matchExpressions": [{"key": "a", "operator": "In"}]}), "/matchExpressions/0/values"),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}),
                "/matchExpressions/0/operator",
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["1"]}]}),
                "/matchExpressions/0/values",
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In", "values": [1]}]}),
                "/matchExpressions/0/values/0",
            ),
            (json!({"matchExpressions": [{"operator": "Exists"}]}), "/matchExpressions/0/key"),
        ] {
            assert_eq!(Selector::parse(&selector).unwrap_err().pointer, pointer, "{selector}");
        }
    }

    #[test]
    fn order_does_not_make_another_selector() {
        let parse = |value: Value| Selector::parse(&value).unwrap();
        let expressions = |first: &str, second: &str| json!({"matchExpressions": [{"key": first, "operator": "Exists"}, {"key": second, "operator": "Exists"}]});
        assert_eq!(parse(expressions("a", "b")), parse(expressions("b", "a")));
    }
}
