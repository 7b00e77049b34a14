//! Rules about words: folders of one machine, and error codes that nobody explains.

use super::Finding;
use super::source::Source;
use super::tables::{CODED, NOT_CODES, PLACES};

/// No file names a folder of somebody's machine.
pub(super) fn places(path: &str, body: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in body.lines().enumerate() {
        for place in PLACES {
            if line.match_indices(place).any(|(at, _)| starts_path(&line[..at])) {
                findings.push(Finding::new(
                    path,
                    index + 1,
                    "place",
                    place,
                    "a folder of one machine: say it relative",
                ));
            }
        }
    }
    findings
}

/// `/x/` after a word, a dot or a slash is the inside of another path or address.
fn starts_path(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || "_-.~})$*/".contains(c))
}

/// Every error code in a literal has its page.
pub(super) fn error_codes(source: &Source, pages: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !CODED.iter().any(|folder| source.path.starts_with(folder)) {
        return findings;
    }
    for (line, literal) in &source.literals {
        for code in codes(literal) {
            let page = format!("docs/errors/{code}.md");
            if !source.in_tests(*line) && !pages.contains(&page.as_str()) {
                findings.push(Finding::new(source.path, *line, "error-page", code, format!("write {page}")));
            }
        }
    }
    findings
}

/// Words of two to eight capitals, a hyphen and three digits.
fn codes(literal: &str) -> Vec<&str> {
    let words = literal.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let is_code = |word: &&str| {
        word.split_once('-').is_some_and(|(letters, digits)| {
            (2..=8).contains(&letters.len())
                && letters.bytes().all(|byte| byte.is_ascii_uppercase())
                && digits.len() == 3
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && !NOT_CODES.contains(&letters)
        })
    };
    words.filter(is_code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_one_machine_is_found() {
        let place = PLACES[0];
        let cases = [
            (format!("see {place}x"), true),
            (format!("{place}x"), true),
            (format!("\"{place}x\""), true),
            (format!("https://example.com{place}x"), false),
            (format!("$HOME{place}x"), false),
        ];
        for (line, found) in cases {
            assert_eq!(!places("a.md", &line).is_empty(), found, "{line}");
        }
    }

    #[test]
    fn an_error_code_without_a_page_is_found() {
        let text = "//! A.\nconst A: &str = \"GIT-101: no\";\nconst B: &str = \"SHA-256 GIT-102x Agent-100 GIT-1000\";\n";
        let source = Source::parse("hub/src/a.rs", text);
        let found: Vec<_> = error_codes(&source, &[]).into_iter().map(|f| (f.line, f.item)).collect();
        assert_eq!(found, [(2, "GIT-101".to_owned())]);
        assert_eq!(error_codes(&source, &["docs/errors/GIT-101.md"]), []);
    }

    #[test]
    fn codes_of_tests_need_no_page() {
        let text = "//! A.\n#[cfg(test)]\nmod tests { const A: &str = \"GIT-101\"; }\n";
        assert_eq!(error_codes(&Source::parse("hub/src/a.rs", text), &[]), []);
    }
}
