//! The list of exceptions: each is for one breach up to one size, and must go as soon as the breach does.

use anyhow::{Context, Result, bail};

use super::Finding;

/// Where the list is, from the root.
pub(super) const FILE: &str = "xtask/tidy.txt";

/// The exceptions, in the order of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ratchet {
    exceptions: Vec<Exception>,
}

#[derive(Debug, PartialEq, Eq)]
struct Exception {
    line: usize,
    rule: String,
    path: String,
    item: String,
    size: usize,
}

impl Ratchet {
    /// Reads lines of `RULE PATH SIZE [ITEM]`; `#` begins a comment. A line that is not so is an error.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut exceptions = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<_> = line.split_whitespace().collect();
            let (rule, path, size, item) = match words[..] {
                [] => continue,
                [rule, path, size] => (rule, path, size, ""),
                [rule, path, size, item] => (rule, path, size, item),
                _ => bail!("{FILE}:{}: not `RULE PATH SIZE [ITEM]`", index + 1),
            };
            let size = size.parse().with_context(|| format!("{FILE}:{}: read the size {size}", index + 1))?;
            let (rule, path, item) = (rule.to_owned(), path.to_owned(), item.to_owned());
            exceptions.push(Exception { line: index + 1, rule, path, item, size });
        }
        Ok(Self { exceptions })
    }

    /// Takes out what is excepted; adds each exception that is larger than what it excuses, or excuses nothing.
    pub(super) fn apply(&self, mut findings: Vec<Finding>) -> Vec<Finding> {
        let mut stale = Vec::new();
        for exception in &self.exceptions {
            let excused = |f: &Finding| {
                f.rule == exception.rule
                    && f.path == exception.path
                    && f.item == exception.item
                    && f.size <= exception.size
            };
            let largest = findings.iter().filter(|f| excused(f)).map(|f| f.size).max();
            findings.retain(|finding| !excused(finding));
            let advice = match largest {
                Some(size) if size == exception.size => continue,
                Some(size) => format!("shrink the exception of {} to {size}", exception.path),
                None => format!("take the exception of {} out: it excuses nothing", exception.path),
            };
            stale.push(Finding::new(FILE, exception.line, "ratchet", &exception.rule, advice));
        }
        findings.append(&mut stale);
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(size: usize) -> Vec<Finding> {
        vec![Finding::new("hub/src/a.rs", 9, "function-lines", "f", "").sized(size)]
    }

    #[test]
    fn an_exception_excuses_its_breach_and_must_shrink_with_it() {
        let cases = [
            ("function-lines hub/src/a.rs 80 f", 80, vec![]),
            ("function-lines hub/src/a.rs 80 f", 81, vec!["function-lines", "ratchet"]),
            ("function-lines hub/src/a.rs 80 f", 75, vec!["ratchet"]),
            ("function-lines hub/src/a.rs 80 g", 80, vec!["function-lines", "ratchet"]),
            ("# nothing", 80, vec!["function-lines"]),
        ];
        for (list, size, rules) in cases {
            let left = Ratchet::parse(list).unwrap().apply(long(size));
            assert_eq!(
                left.iter().map(|finding| finding.rule).collect::<Vec<_>>(),
                rules,
                "{list} for {size}"
            );
        }
    }

    #[test]
    fn a_line_that_is_not_an_exception_is_an_error() {
        for list in ["home", "home hub/src/a.rs", "home hub/src/a.rs many", "home a 1 b c"] {
            assert!(Ratchet::parse(list).is_err(), "{list}");
        }
    }
}
