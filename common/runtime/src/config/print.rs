//! Printing a table: for people, as a sample file, and as the reference page.

use std::fmt::Write as _;

use super::{HumanBytes, HumanDuration, Kind, Need, Setting, Table, Values};

/// What a setting may hold, in words.
pub(super) fn bound(kind: Kind) -> String {
    match kind {
        Kind::Text => "a text".to_owned(),
        Kind::Path => "a path".to_owned(),
        Kind::List => "texts separated by commas".to_owned(),
        Kind::Url(schemes) => format!("a URL with {}://", schemes.join(":// or ")),
        Kind::Address => "an IP address and a port, such as 0.0.0.0:8443".to_owned(),
        Kind::Switch => "true or false".to_owned(),
        Kind::Choice(words) => words.join(" or "),
        Kind::Duration { min, max } => {
            format!("a time from {} to {}, with unit", HumanDuration(min), HumanDuration(max))
        }
        Kind::Bytes { min, max } => {
            format!("a size from {} to {}, with unit", HumanBytes(min), HumanBytes(max))
        }
        Kind::Count { min, max } => format!("a number from {min} to {max}"),
    }
}

/// Every setting with its value, origin, default, bound and meaning.
pub fn explain(values: &Values) -> String {
    let mut text = String::new();
    for setting in values.table.settings {
        let (value, origin) = values.get(setting.key);
        let shown = if value.is_empty() { "(not set)" } else { value };
        let _ = writeln!(text, "{} = {shown}  [{origin}]", setting.key);
        let _ = writeln!(text, "    {}", setting.doc);
        let _ = writeln!(
            text,
            "    {}; default {}; since {}",
            bound(setting.kind),
            default(setting),
            setting.since
        );
        let _ = writeln!(text, "    {}", setting.variable(&values.table));
    }
    text
}

/// A settings file with every setting as a comment.
pub fn sample(table: &Table) -> String {
    let mut text = format!("# Settings of {}. Every line is the default.\n", table.program);
    for setting in table.settings {
        let _ = writeln!(text, "\n# {}\n# {}.", setting.doc, capital(&bound(setting.kind)));
        let _ = writeln!(text, "#{}: {}", setting.key, setting.default);
    }
    text
}

/// The section of `docs/CONFIG.md` for one program.
pub fn markdown(table: &Table) -> String {
    let mut text = format!("## {}\n\n", table.program);
    text.push_str("| key | default | bound | since | meaning |\n| --- | --- | --- | --- | --- |\n");
    for setting in table.settings {
        let (bound, default) = (bound(setting.kind), default(setting));
        let _ = writeln!(
            text,
            "| `{}`<br>`{}` | {default} | {bound} | {} | {} |",
            setting.key,
            setting.variable(table),
            setting.since,
            setting.doc.replace('|', "\\|")
        );
    }
    text
}

fn default(setting: &Setting) -> &str {
    match (setting.default, setting.need) {
        ("", Need::Required) => "none, must be given",
        ("", Need::Optional) => "none",
        (default, _) => default,
    }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}
