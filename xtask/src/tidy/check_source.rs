//! Rules about one Rust file: its first line, sizes, and which outside crates it names.

use super::Finding;
use super::source::Source;
use super::tables::{HOMELESS, HOMES, MAX_FILE_LINES, MAX_FUNCTION_LINES};

/// The first line says what the file is.
pub(super) fn first_line(source: &Source) -> Option<Finding> {
    let first = source.text.lines().next().unwrap_or_default();
    let told = first.strip_prefix("//! ").is_some_and(|sentence| !sentence.trim().is_empty());
    (!told).then(|| {
        Finding::new(
            source.path,
            1,
            "first-line",
            "",
            "begin with a `//!` sentence that says what the file is",
        )
    })
}

/// Files and functions that fit a screen or a head.
pub(super) fn sizes(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if source.all_tests {
        return findings;
    }
    let lines = source.lines();
    if lines > MAX_FILE_LINES {
        let advice = format!("{lines} lines without tests, at most {MAX_FILE_LINES}: split it by meaning");
        findings.push(Finding::new(source.path, 1, "file-lines", "", advice).sized(lines));
    }
    for function in source.functions() {
        if function.lines > MAX_FUNCTION_LINES && !source.in_tests(function.line) {
            let advice = format!("{} lines, at most {MAX_FUNCTION_LINES}: name its parts", function.lines);
            let finding = Finding::new(source.path, function.line, "function-lines", function.name, advice);
            findings.push(finding.sized(function.lines));
        }
    }
    findings
}

/// Outside crates that talk to the world stay in their home folders.
pub(super) fn homes(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if HOMELESS.iter().any(|free| source.path.starts_with(free)) {
        return findings;
    }
    for (name, homes) in HOMES {
        let at_home = homes.iter().any(|home| source.path.starts_with(home));
        if let (false, Some(line)) = (at_home, first_use(source, name)) {
            let advice = format!("belongs in {}: go through its port", homes.join(" or "));
            findings.push(Finding::new(source.path, line, "home", name, advice));
        }
    }
    findings
}

/// The line on which a file first names an outside crate, not a module of ours with the same name.
fn first_use(source: &Source, name: &str) -> Option<usize> {
    let code = source.code.as_str();
    let mut first = None;
    for (at, word) in source.words() {
        let before = code[..at].trim_end();
        let after = code[at + word.len()..].trim_start();
        if word == "mod"
            && after.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with([';', '{']))
        {
            return None;
        }
        if word != name {
            continue;
        }
        let is_path = after.starts_with("::");
        if let Some(parent) = before.strip_suffix("::") {
            // `::kube` is the crate; in `crate::kube` or `super::kube` it is a module of ours.
            if !parent.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>') {
                first = first.or(Some(source.line_at(at)));
            } else if !is_path && bound_by_use(before) {
                return None;
            }
        } else if bound_by_use(before) && !is_path {
            return None;
        } else if !bound_by_use(before) && (is_path || before.ends_with("use")) {
            first = first.or(Some(source.line_at(at)));
        }
    }
    first
}

/// The text stands inside a `use` of our own modules.
fn bound_by_use(before: &str) -> bool {
    let statement = before.rsplit(';').next().unwrap_or_default();
    let Some(at) = statement.rfind("use ") else { return false };
    ["crate", "super", "self"].iter().any(|own| statement[at + 4..].trim_start().starts_with(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_first_sentence_is_found() {
        for (text, found) in [("//! A.\n", false), ("//!\n", true), ("use x;\n//! A.\n", true), ("", true)] {
            assert_eq!(first_line(&Source::parse("a.rs", text)).is_some(), found, "{text}");
        }
    }

    #[test]
    fn a_long_file_and_a_long_function_are_found_with_their_sizes() {
        let body = "    x();\n".repeat(MAX_FUNCTION_LINES);
        let text = format!("//! A.\nfn long() {{\n{body}}}\n{}", "//\n".repeat(MAX_FILE_LINES));
        let sizes: Vec<_> =
            sizes(&Source::parse("hub/src/a.rs", &text)).iter().map(|f| (f.rule, f.size)).collect();
        let file = 1 + MAX_FUNCTION_LINES + 2 + MAX_FILE_LINES;
        assert_eq!(sizes, [("file-lines", file), ("function-lines", MAX_FUNCTION_LINES + 2)]);
    }

    #[test]
    fn tests_may_be_long() {
        let body = "x();\n".repeat(MAX_FILE_LINES);
        let text = format!("//! A.\n#[cfg(test)]\nmod tests {{\nfn f() {{\n{body}}}\n}}\n");
        assert_eq!(sizes(&Source::parse("hub/src/a.rs", &text)), []);
    }

    #[test]
    fn an_outside_crate_away_from_home_is_found() {
        let cases = [
            ("hub/src/driver.rs", "use rocksdb::DB;", true),
            ("hub/src/log/rocks.rs", "use rocksdb::DB;", false),
            ("agent/src/run.rs", "fn f() { kube::Client::default() }", true),
            ("agent/src/run.rs", "fn f() { ::kube::Client::default() }", true),
            ("agent/src/run.rs", "use kube as k;", true),
            ("agent/src/run.rs", "use crate::kube::Port;", false),
            ("agent/src/run.rs", "use crate::kube;\nfn f(p: kube::Port) {}", false),
            ("agent/src/run.rs", "use crate::{bus, kube};\nfn f(p: kube::Port) {}", false),
            ("agent/src/run.rs", "use crate::{bus, kube::Port};\n", false),
            ("agent/src/lib.rs", "pub mod kube;\nuse kube::Port;", false),
            ("agent/src/run.rs", "// kube::Client\nconst A: &str = \"kube::Client\";", false),
            ("common/testkit/src/a.rs", "use kube::Client;", false),
        ];
        for (path, text, found) in cases {
            assert_eq!(!homes(&Source::parse(path, text)).is_empty(), found, "{path}: {text}");
        }
    }
}
