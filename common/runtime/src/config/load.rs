//! Filling a table: defaults, file, environment, flags; every mistake is told at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Error, Errors, HumanBytes, HumanDuration, Kind, Need, Origin, Setting, Table, Values};

/// Largest settings file, in bytes: every setting with a page of comment each is below 100 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Distance in single-character edits up to which a key is suggested for a misspelt one.
const NEAR_EDITS_MAX: usize = 4;

/// Where values come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The settings file, if one was named.
    pub file: Option<PathBuf>,
    /// The environment, as `std::env::vars` gives it.
    pub environment: Vec<(String, String)>,
    /// Keys and values of the command line, later ones over earlier ones.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// Takes over `--set key=value`.
    ///
    /// # Errors
    /// [`Error::BadValue`] if there is no `=`.
    pub fn set(&mut self, text: &str) -> Result<(), Error> {
        let (key, value) = text.split_once('=').ok_or_else(|| Error::BadValue {
            key: "--set".to_owned(),
            value: text.to_owned(),
            origin: Origin::Flag,
            rule: "expected KEY=VALUE".to_owned(),
        })?;
        self.flags.push((key.trim().to_owned(), value.to_owned()));
        Ok(())
    }
}

/// Fills `table` from `sources`.
///
/// # Errors
/// [`Errors`] with everything that is wrong.
pub fn load(table: &Table, sources: &Sources) -> Result<Values, Errors> {
    let mut given = Vec::new();
    let mut errors = Vec::new();
    if let Some(path) = &sources.file {
        match read_file(path) {
            Ok(pairs) => {
                given.extend(pairs.into_iter().map(|(key, value)| (key, value, Origin::File(path.clone()))));
            }
            Err(error) => errors.push(error),
        }
    }
    given.extend(sources.environment.iter().filter_map(|(name, value)| from_environment(table, name, value)));
    given.extend(sources.flags.iter().map(|(key, value)| (key.clone(), Ok(value.clone()), Origin::Flag)));

    let defaults =
        table.settings.iter().map(|setting| (setting.key, (setting.default.to_owned(), Origin::Default)));
    let mut values: BTreeMap<_, _> = defaults.collect();
    for (key, value, origin) in given {
        let Some(setting) = table.settings.iter().find(|setting| setting.key == key) else {
            errors.push(Error::Unknown { nearest: nearest(table, &key), key, origin });
            continue;
        };
        let checked =
            value.and_then(|text| check(setting, &text).map(|()| text.clone()).map_err(|rule| (text, rule)));
        match checked {
            Ok(text) => drop(values.insert(setting.key, (text, origin))),
            Err((value, rule)) => errors.push(Error::BadValue { key, value, origin, rule }),
        }
    }
    for setting in table.settings {
        if setting.need == Need::Required && values[setting.key].0.is_empty() {
            let rule = format!("give --set {}=VALUE, {} or the file", setting.key, setting.variable(table));
            errors.push(Error::Missing { key: setting.key.to_owned(), rule });
        }
    }
    if errors.is_empty() { Ok(Values { table: *table, values }) } else { Err(Errors { errors }) }
}

/// A value as text, or a text and the rule that it breaks.
type Read = Result<String, (String, String)>;

fn read_file(path: &Path) -> Result<Vec<(String, Read)>, Error> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let not = |detail: String| Error::NotYaml { path: path.to_owned(), detail };
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(not("it is larger than 1 MiB".to_owned()));
    }
    let mut pairs = Vec::new();
    match serde_saphyr::from_str::<Value>(&text).map_err(|error| not(error.to_string()))? {
        Value::Null => {}
        top @ Value::Object(_) => flatten(String::new(), &top, &mut pairs),
        _ => return Err(not("expected a mapping at the top".to_owned())),
    }
    Ok(pairs)
}

/// `git: {poll: 30s}` and `git.poll: 30s` are the same.
fn flatten(key: String, value: &Value, pairs: &mut Vec<(String, Read)>) {
    let refuse = |rule: &str| Err((value.to_string(), rule.to_owned()));
    let read = match value {
        Value::Object(map) => {
            for (name, value) in map {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(key, value, pairs);
            }
            return;
        }
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null => refuse("it has no value"),
        Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            match texts {
                Some(texts) if texts.iter().all(|text| !text.contains(',')) => Ok(texts.join(",")),
                _ => refuse("expected a sequence of texts without commas"),
            }
        }
    };
    pairs.push((key, read));
}

fn from_environment(table: &Table, name: &str, value: &str) -> Option<(String, Read, Origin)> {
    let rest = name.strip_prefix(table.prefix)?;
    if table.reserved.contains(&rest) || is_service_link(rest) {
        return None;
    }
    let known = table.settings.iter().find(|setting| setting.variable(table) == name);
    let key =
        known.map_or_else(|| rest.to_ascii_lowercase().replace('_', "."), |setting| setting.key.to_owned());
    Some((key, Ok(value.to_owned()), Origin::Environment(name.to_owned())))
}

/// Kubernetes sets variables for every Service of a namespace; one named `taffrail-hub` has our prefix.
fn is_service_link(rest: &str) -> bool {
    let port = rest.strip_prefix("PORT_").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    rest == "PORT" || rest == "SERVICE_HOST" || rest.starts_with("SERVICE_PORT") || port
}

fn check(setting: &Setting, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return if setting.default.is_empty() { Ok(()) } else { Err("expected a value".to_owned()) };
    }
    let within = |value: u64, min: u64, max: u64| min <= value && value <= max;
    let fine = match setting.kind {
        Kind::Text | Kind::Path | Kind::List => !text.contains('\0'),
        Kind::Url(schemes) => {
            text.split_once("://").is_some_and(|(scheme, rest)| schemes.contains(&scheme) && !rest.is_empty())
        }
        Kind::Address => text.parse::<SocketAddr>().is_ok(),
        Kind::Switch => text == "true" || text == "false",
        Kind::Choice(words) => words.contains(&text),
        Kind::Duration { min, max } => {
            HumanDuration::parse(text).is_some_and(|HumanDuration(time)| min <= time && time <= max)
        }
        Kind::Bytes { min, max } => {
            HumanBytes::parse(text).is_some_and(|HumanBytes(size)| within(size, min, max))
        }
        Kind::Count { min, max } => text.parse().is_ok_and(|number| within(number, min, max)),
    };
    if fine { Ok(()) } else { Err(format!("expected {}", super::print::bound(setting.kind))) }
}

fn nearest(table: &Table, key: &str) -> Option<String> {
    let plain = |text: &str| text.replace(['.', '-', '_'], "");
    let wanted = plain(key);
    let (edits, best) = table
        .settings
        .iter()
        .map(|setting| (edits(&wanted, &plain(setting.key)), setting.key))
        .min_by_key(|(edits, _)| *edits)?;
    let last = |setting: &&Setting| setting.key.ends_with(&format!(".{key}"));
    let by_end = table.settings.iter().find(last).map(|setting| setting.key.to_owned());
    by_end.or_else(|| (edits <= NEAR_EDITS_MAX.min(wanted.len() / 2)).then(|| best.to_owned()))
}

/// Single-character insertions, deletions and replacements that turn `one` into `other`.
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, character) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, against) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(character != *against);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECONDS: Kind = Kind::Duration { min: Duration::from_secs(5), max: Duration::from_hours(1) };

    const fn setting(key: &'static str, kind: Kind, default: &'static str) -> Setting {
        Setting { key, kind, default, need: Need::Optional, since: "0.1", doc: "For tests." }
    }

    const TABLE: Table = Table {
        program: "taffrail-test",
        prefix: "TAFFRAIL_TEST_",
        reserved: &["CONFIG"],
        settings: &[
            Setting { need: Need::Required, ..setting("data.dir", Kind::Path, "") },
            setting("git.poll", SECONDS, "30s"),
            setting("git.allow-file", Kind::Switch, "false"),
            setting("log.format", Kind::Choice(&["human", "json"]), "human"),
            setting("nats.urls", Kind::List, ""),
            setting("render.output-max", Kind::Bytes { min: 1 << 10, max: 1 << 30 }, "32MiB"),
            setting("render.parallel", Kind::Count { min: 1, max: 64 }, "2"),
            setting("hub.url", Kind::Url(&["https"]), ""),
            setting("listen.https", Kind::Address, "127.0.0.1:0"),
        ],
    };

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("taffrail-config-{}-{name}.yaml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    fn errors(file: Option<PathBuf>, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Vec<String> {
        let mut flags = pairs(flags);
        flags.push(("data.dir".into(), "/data".into()));
        let sources = Sources { file, environment: pairs(environment), flags };
        let errors = load(&TABLE, &sources).err().map(|errors| errors.to_string()).unwrap_or_default();
        errors.lines().map(str::to_owned).collect()
    }

    #[test]
    fn flags_win_over_environment_and_environment_over_file_and_file_over_default() {
        let text =
            "git:\n  poll: 10s\nrender.parallel: 3\nnats.urls: [tls://a, tls://b]\ngit.allow-file: true\n";
        let sources = Sources {
            file: Some(file("order", text)),
            environment: pairs(&[
                ("TAFFRAIL_TEST_GIT_POLL", "20s"),
                ("TAFFRAIL_TEST_DATA_DIR", "/env"),
                ("TAFFRAIL_TEST_CONFIG", "elsewhere"),
                ("TAFFRAIL_TEST_PORT_8443_TCP", "tcp://10.0.0.1:8443"),
                ("TAFFRAIL_TEST_SERVICE_HOST", "10.0.0.1"),
                ("PATH", "/bin"),
            ]),
            flags: pairs(&[("data.dir", "/flag")]),
        };
        let values = load(&TABLE, &sources).unwrap();
        assert_eq!(values.given("data.dir"), "/flag");
        assert_eq!(values.duration("git.poll"), Duration::from_secs(20));
        assert_eq!(values.count("render.parallel"), 3);
        assert_eq!(values.bytes("render.output-max"), 32 << 20);
        assert_eq!(values.list("nats.urls"), ["tls://a", "tls://b"]);
        assert!(values.switch("git.allow-file"));
        assert_eq!(values.text("hub.url"), None);
        assert_eq!(*values.origin("git.poll"), Origin::Environment("TAFFRAIL_TEST_GIT_POLL".into()));
    }

    #[test]
    fn unknown_keys_are_refused_wherever_they_stand_and_the_nearest_is_named() {
        let told = errors(
            Some(file("unknown", "git: {pol: 10s}\n")),
            &[("TAFFRAIL_TEST_GIT_PULL", "9s")],
            &[("poll", "9s")],
        );
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(
            told.iter().all(|line| line.starts_with("CONFIG-001") && line.contains("did you mean git.poll?"))
        );
        assert!(!errors(None, &[], &[("something.else", "1")])[0].contains("did you mean"));
    }

    #[test]
    fn values_outside_their_bound_are_refused_with_the_bound() {
        for (key, value) in [
            ("git.poll", "30"),
            ("git.poll", "1s"),
            ("git.poll", ""),
            ("git.allow-file", "yes"),
            ("log.format", "xml"),
            ("render.output-max", "32"),
            ("render.output-max", "2GiB"),
            ("render.parallel", "0"),
            ("render.parallel", "-1"),
            ("hub.url", "http://hub"),
            ("listen.https", "localhost"),
        ] {
            let told = errors(None, &[], &[(key, value)]);
            assert!(
                told.len() == 1 && told[0].starts_with("CONFIG-002") && told[0].contains(key),
                "{told:?}"
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_and_an_empty_one_is_not() {
        assert_eq!(errors(Some(file("empty", "# nothing\n")), &[], &[]), Vec::<String>::new());
        for (name, text) in
            [("list", "- a\n"), ("broken", "a: [\n"), ("twice", "git.poll: 5s\ngit.poll: 6s\n")]
        {
            assert!(errors(Some(file(name, text)), &[], &[])[0].starts_with("CONFIG-003"), "{name}");
        }
        assert!(errors(Some("/nonexistent/file".into()), &[], &[])[0].starts_with("CONFIG-003"));
        assert!(errors(Some(file("null", "git.poll:\n")), &[], &[])[0].starts_with("CONFIG-002"));
    }

    #[test]
    fn a_required_setting_must_be_given() {
        let told = load(&TABLE, &Sources::default()).unwrap_err().to_string();
        assert!(
            told.starts_with("CONFIG-004: data.dir is missing") && told.contains("TAFFRAIL_TEST_DATA_DIR"),
            "{told}"
        );
    }
}
