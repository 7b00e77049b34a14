//! The rules of the house as a test: reads the whole repository, names each breach with file and line.
//!
//! `tables` holds what may be changed by decision, `source` reads Rust, each `check_*` file holds one group of rules,
//! and `ratchet` the exceptions, which may only shrink.

mod check_manifest;
mod check_source;
mod check_text;
mod ratchet;
mod source;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use ratchet::Ratchet;
use source::Source;

/// Files above this are data, not text that anybody wrote.
const MAX_TEXT_BYTES: u64 = 1024 * 1024;

/// One breach of one rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// The file, relative to the root, with forward slashes.
    path: String,
    /// Counted from one.
    line: usize,
    /// The rule's short name, as in the list of exceptions.
    rule: &'static str,
    /// What it is about: a function, a crate, a code; empty when it is the file.
    item: String,
    /// The measured size where the rule has a limit, otherwise one.
    size: usize,
    /// What to do about it.
    advice: String,
}

impl Finding {
    fn new(path: &str, line: usize, rule: &'static str, item: &str, advice: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, rule, item: item.to_owned(), size: 1, advice: advice.into() }
    }

    fn sized(self, size: usize) -> Self {
        Self { size, ..self }
    }
}

/// A text file of the repository.
struct Text {
    path: String,
    body: String,
}

/// Checks the repository at `root`; the error counts the breaches, which are printed one per line.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut texts = Vec::new();
    collect(root, root, &mut texts)?;
    texts.sort_by(|a, b| a.path.cmp(&b.path));
    let mut findings = check(&texts);
    let exceptions = fs::read_to_string(root.join(ratchet::FILE)).context("read the list of exceptions")?;
    findings = Ratchet::parse(&exceptions)?.apply(findings);
    findings.sort();
    for finding in &findings {
        let Finding { path, line, rule, item, advice, .. } = finding;
        eprintln!("{path}:{line}: {rule}{}{item}: {advice}", if item.is_empty() { "" } else { " " });
    }
    if findings.is_empty() {
        Ok(())
    } else {
        bail!("tidy found {} breaches of the rules of the house", findings.len())
    }
}

fn check(texts: &[Text]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let pages: Vec<_> =
        texts.iter().map(|text| text.path.as_str()).filter(|p| p.starts_with("docs/errors/")).collect();
    for text in texts {
        findings.extend(check_text::places(&text.path, &text.body));
        if text.path.ends_with("Cargo.toml") {
            findings.extend(check_manifest::edges(&text.path, &text.body));
            findings.extend(check_manifest::features(&text.path, &text.body));
        }
    }
    let is_rust = |text: &&Text| Path::new(&text.path).extension().is_some_and(|kind| kind == "rs");
    let mut sources: Vec<_> =
        texts.iter().filter(is_rust).map(|text| Source::parse(&text.path, &text.body)).collect();
    let test_files: Vec<_> = sources.iter().flat_map(Source::test_files).collect();
    for source in &mut sources {
        let module = source.path.trim_end_matches(".rs");
        let within = |file: &String| {
            module.strip_prefix(file.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('/'))
        };
        source.all_tests |= test_files.iter().any(within);
        findings.extend(check_source::first_line(source));
        findings.extend(check_source::sizes(source));
        findings.extend(check_source::homes(source));
        findings.extend(check_text::error_codes(source, &pages));
    }
    findings
}

fn collect(root: &Path, folder: &Path, texts: &mut Vec<Text>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !matches!(name.to_str(), Some(".git" | "target" | "node_modules")) {
                collect(root, &entry.path(), texts)?;
            }
        } else if kind.is_file() && name != ".git" && entry.metadata()?.len() <= MAX_TEXT_BYTES {
            let path: PathBuf = entry.path();
            let body = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            // What is not UTF-8 is not text.
            if let Ok(body) = String::from_utf8(body) {
                let relative = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
                texts.push(Text { path: relative, body });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_with_one_breach_of_each_kind_is_told_all_of_them() {
        let text = |path: &str, body: &str| Text { path: path.to_owned(), body: body.to_owned() };
        let long = format!("//! Long.\n{}", "// line\n".repeat(tables::MAX_FILE_LINES));
        let texts = [
            text(
                "agent/Cargo.toml",
                "[dependencies]\ntaffrail-hub = { workspace = true }\nx = [\"preserve_order\"]\n",
            ),
            text("agent/src/driver.rs", "use redb::Database;\n"),
            text("cli/src/long.rs", &long),
            text("hub/src/error.rs", "//! Errors.\nconst LOST: &str = \"TF-101\";\n"),
            text("README.md", &format!("see {}x\n", tables::PLACES[0])),
        ];
        let rules: std::collections::BTreeSet<_> =
            check(&texts).into_iter().map(|finding| finding.rule).collect();
        let expected = ["edge", "feature", "first-line", "home", "file-lines", "error-page", "place"];
        assert_eq!(rules, expected.into());
    }
}
