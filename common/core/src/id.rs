//! Parsed names: what can be wrong is checked once, at the edge.

use alloc::string::String;
use core::fmt;

/// A name that breaks its rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {what}: {rule}")]
pub struct BadName {
    /// Which kind of name.
    pub what: &'static str,
    /// What was given.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// Checks and keeps `text`.
            ///
            /// # Errors
            /// [`BadName`] with the rule that `text` breaks.
            pub fn parse(text: &str) -> Result<$type, BadName> {
                $type::try_from(String::from(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;

            fn try_from(text: String) -> Result<$type, BadName> {
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok($type(text)) } else { Err(BadName { what: $what, text, rule: $rule }) }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

fn is_label(text: &str, max: usize) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.len() <= max && text.chars().all(allowed)
}

name!(
    /// Name of a cluster: 1 to 63 of `a-z`, `0-9`, `-` (design, section 1).
    ClusterName, "cluster name", "1 to 63 of a-z, 0-9 and -", |text| is_label(text, 63)
);
name!(
    /// Name of a source: 1 to 63 of `a-z`, `0-9`, `-`; made from the repository's name when it is added.
    SourceName, "source name", "1 to 63 of a-z, 0-9 and -", |text| is_label(text, 63)
);
name!(
    /// Name of an app, as a Kubernetes object name: at most 253 of `a-z`, `0-9`, `-`, `.`.
    AppName, "app name", "1 to 253 of a-z, 0-9, - and .",
    |text| !text.is_empty() && text.len() <= 253 && text.split('.').all(|part| is_label(part, 253))
);
name!(
    /// A Git object id: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal characters.
    CommitId, "commit id", "40 or 64 lower-case hexadecimal characters",
    |text| (text.len() == 40 || text.len() == 64) && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
);
name!(
    /// Public key of a cluster's NATS account: the cluster's identity, whatever it is called (`A` and 55 of base32).
    AccountKey, "account key", "A followed by 55 of A-Z and 2-7",
    |text| text.len() == 56 && text.starts_with('A') && text.bytes().all(|c| matches!(c, b'A'..=b'Z' | b'2'..=b'7'))
);

impl CommitId {
    /// The first 10 characters, for people.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

/// Identity of an app: the source that declares it, and its name there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    clippy::module_name_repetitions,
    reason = "an app's identity is more than its name, which stands beside it"
)]
pub struct AppId {
    /// The source whose tree declares the app.
    pub source: SourceName,
    /// Its name in that tree.
    pub name: AppName,
}

impl AppId {
    /// Reads `source/name`.
    ///
    /// # Errors
    /// [`BadName`] if either half is missing or breaks its rule.
    pub fn parse(text: &str) -> Result<AppId, BadName> {
        let bad = || BadName { what: "app", text: String::from(text), rule: "source/name" };
        let (source, name) = text.split_once('/').ok_or_else(bad)?;
        Ok(AppId { source: SourceName::parse(source)?, name: AppName::parse(name)? })
    }
}

impl TryFrom<String> for AppId {
    type Error = BadName;

    fn try_from(text: String) -> Result<AppId, BadName> {
        AppId::parse(&text)
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.source, self.name)
    }
}

impl fmt::Debug for AppId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
