//! Settings: one table per program, filled from defaults, file, environment and flags, each over the one before.
//!
//! ```text
//! default  <  file (YAML)  <  environment (TAFFRAIL_HUB_GIT_POLL)  <  flags (--set git.poll=10s, --data-dir ...)
//! ```
//! A key that is not in the table is refused, with the nearest known one. No setting holds a secret: secrets stand in
//! files, and settings name the files; so settings may be printed and logged.

mod human;
mod load;
mod print;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use human::{HumanBytes, HumanDuration};
pub use load::{Sources, load};
pub use print::{explain, markdown, sample};

/// What a setting may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A path.
    Path,
    /// Texts, separated by commas or as a YAML sequence.
    List,
    /// A URL with one of these schemes.
    Url(&'static [&'static str]),
    /// An IP address and a port; port 0 lets the system choose.
    Address,
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A time with its unit.
    Duration {
        /// Smallest, inclusive.
        min: Duration,
        /// Largest, inclusive.
        max: Duration,
    },
    /// A size with its unit.
    Bytes {
        /// Smallest, inclusive.
        min: u64,
        /// Largest, inclusive.
        max: u64,
    },
    /// A whole number.
    Count {
        /// Smallest, inclusive.
        min: u64,
        /// Largest, inclusive.
        max: u64,
    },
}

/// Whether a setting may stay empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It may; the text of the setting says what happens then.
    Optional,
    /// The program does not start without it.
    Required,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Words of `a-z` and `-`, joined by dots.
    pub key: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// Its default as one would write it; empty if it has none.
    pub default: &'static str,
    /// Whether it may stay empty.
    pub need: Need,
    /// The version that brought it.
    pub since: &'static str,
    /// What it does and where its number comes from.
    pub doc: &'static str,
}

/// All settings of one program.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The program, such as `taffrail-hub`.
    pub program: &'static str,
    /// What its environment variables begin with, such as `TAFFRAIL_HUB_`.
    pub prefix: &'static str,
    /// Variables with that prefix that are read elsewhere, without the prefix, such as `CONFIG`.
    pub reserved: &'static [&'static str],
    /// The settings, in the order in which they are printed.
    pub settings: &'static [Setting],
}

impl Setting {
    /// Its environment variable: dots and dashes become underscores.
    pub fn variable(&self, table: &Table) -> String {
        format!("{}{}", table.prefix, self.key.replace(['.', '-'], "_").to_ascii_uppercase())
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// The settings file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => out.write_str("default"),
            Origin::File(path) => write!(out, "file {}", path.display()),
            Origin::Environment(name) => write!(out, "environment {name}"),
            Origin::Flag => out.write_str("flag"),
        }
    }
}

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key that is not in the table.
    #[error("CONFIG-001: {key} is not a setting of this program ({origin}){}", suggestion(nearest.as_deref()))]
    Unknown {
        /// As it was written.
        key: String,
        /// Where.
        origin: Origin,
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// A value that the setting cannot have.
    #[error("CONFIG-002: {key} cannot be {value:?} ({origin}): {rule}")]
    BadValue {
        /// Which setting.
        key: String,
        /// As it was written.
        value: String,
        /// Where.
        origin: Origin,
        /// What it should be.
        rule: String,
    },
    /// The file cannot be read.
    #[error("CONFIG-003: read the settings file {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not YAML with a mapping at its top.
    #[error("CONFIG-003: read the settings file {}: {detail}", path.display())]
    NotYaml {
        /// Which file.
        path: PathBuf,
        /// Position and reason.
        detail: String,
    },
    /// A setting that is needed was not given.
    #[error("CONFIG-004: {key} is missing: {rule}")]
    Missing {
        /// Which setting.
        key: String,
        /// When and how to give it.
        rule: String,
    },
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean {key}?"))
}

/// Everything that is wrong with the settings, so that one attempt shows all of it.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(errors))]
pub struct Errors {
    /// At least one.
    pub errors: Vec<Error>,
}

fn lines(errors: &[Error]) -> String {
    let tell = |error: &Error| match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    errors.iter().map(tell).collect::<Vec<_>>().join("\n")
}

impl From<Error> for Errors {
    fn from(error: Error) -> Errors {
        Errors { errors: vec![error] }
    }
}

/// Values that were checked against their table.
///
/// The getters panic on a key that the table does not have or has with another kind: that is a mistake in the program,
/// and every key is read at each start.
#[derive(Clone, Debug)]
pub struct Values {
    table: Table,
    values: BTreeMap<&'static str, (String, Origin)>,
}

impl Values {
    /// The value as text; `None` if it is empty.
    pub fn text(&self, key: &str) -> Option<&str> {
        Some(self.get(key).0.as_str()).filter(|text| !text.is_empty())
    }

    /// The value of a setting that has a default or is required.
    ///
    /// # Panics
    /// If it is empty, which a checked table rules out.
    pub fn given(&self, key: &str) -> &str {
        self.text(key).expect("a setting with a default or one that is required has a value")
    }

    /// Where the value came from.
    pub fn origin(&self, key: &str) -> &Origin {
        &self.get(key).1
    }

    /// A path; `None` if it is empty.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// The texts of a list, without empty ones.
    pub fn list(&self, key: &str) -> Vec<String> {
        let parts = self.get(key).0.split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// A time.
    ///
    /// # Panics
    /// If the setting holds no time.
    pub fn duration(&self, key: &str) -> Duration {
        HumanDuration::parse(self.given(key)).expect("the value was checked").0
    }

    /// A size in bytes.
    ///
    /// # Panics
    /// If the setting holds no size.
    pub fn bytes(&self, key: &str) -> u64 {
        HumanBytes::parse(self.given(key)).expect("the value was checked").0
    }

    /// A whole number.
    ///
    /// # Panics
    /// If the setting holds no number.
    pub fn count(&self, key: &str) -> u64 {
        self.given(key).parse().expect("the value was checked")
    }

    /// A switch.
    pub fn switch(&self, key: &str) -> bool {
        self.given(key) == "true"
    }

    fn get(&self, key: &str) -> &(String, Origin) {
        self.values.get(key).expect("every key that the program reads is in its table")
    }
}
