//! Reads one Rust file as far as the rules need it: code without comments and literals, literals, tests, functions.

/// What marks code that is compiled for tests only.
const TEST_ONLY: &str = "#[cfg(test)]";

/// A Rust file, taken apart.
pub(super) struct Source<'a> {
    pub(super) path: &'a str,
    pub(super) text: &'a str,
    /// The text with comments and literals blanked out; same length, same lines.
    pub(super) code: String,
    /// String literals with the line they start on.
    pub(super) literals: Vec<(usize, &'a str)>,
    /// Line ranges (first, last) of `#[cfg(test)]` modules.
    tests: Vec<(usize, usize)>,
    /// The whole file is tests: a suite, the `tests.rs` of a module, or a file that is compiled for tests only.
    pub(super) all_tests: bool,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    pub(super) line: usize,
    pub(super) lines: usize,
}

impl<'a> Source<'a> {
    pub(super) fn parse(path: &'a str, text: &'a str) -> Self {
        let (code, literals) = split(text);
        let literals =
            literals.into_iter().map(|(start, end)| (line_of(text, start), &text[start..end])).collect();
        let all_tests = path.contains("/tests/") || path.ends_with("/tests.rs");
        let mut source = Self { path, text, code, literals, tests: Vec::new(), all_tests };
        source.tests = source.test_modules();
        source
    }

    /// Files that this one compiles for tests only, without `.rs`: `#[cfg(test)] mod name;`.
    pub(super) fn test_files(&self) -> Vec<String> {
        let folder = match self.path.rsplit_once('/') {
            Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder,
            _ => self.path.strip_suffix(".rs").unwrap_or(self.path),
        };
        let after =
            self.code.match_indices(TEST_ONLY).map(|(at, mark)| self.code[at + mark.len()..].trim_start());
        let modules = after.filter_map(|rest| rest.split_once(';')?.0.strip_prefix("mod "));
        let plain = modules.filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'));
        plain.map(|name| format!("{folder}/{name}")).collect()
    }

    /// The line belongs to tests.
    pub(super) fn in_tests(&self, line: usize) -> bool {
        self.all_tests || self.tests.iter().any(|(first, last)| (*first..=*last).contains(&line))
    }

    /// Lines that are not tests.
    pub(super) fn lines(&self) -> usize {
        let tests: usize = self.tests.iter().map(|(first, last)| last - first + 1).sum();
        self.text.lines().count() - tests
    }

    /// Every function with a body, inner ones too.
    pub(super) fn functions(&self) -> Vec<Function<'_>> {
        let tokens = self.words().filter(|(_, word)| *word == "fn");
        tokens.filter_map(|(at, _)| self.function_at(at)).collect()
    }

    /// Identifiers and keywords of the code with their byte offsets.
    pub(super) fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut rest = 0;
        std::iter::from_fn(move || {
            let start = rest + self.code[rest..].find(is_word)?;
            let length = self.code[start..].find(|c| !is_word(c)).unwrap_or(self.code.len() - start);
            rest = start + length;
            Some((start, &self.code[start..rest]))
        })
    }

    pub(super) fn line_at(&self, offset: usize) -> usize {
        line_of(self.text, offset)
    }

    fn function_at(&self, at: usize) -> Option<Function<'_>> {
        let name = self.code[at + 2..].trim_start();
        let length = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        // `fn(...)` is a type.
        if length == 0 {
            return None;
        }
        let end = self.end_of_block(at)?;
        let line = self.line_at(at);
        Some(Function { name: &name[..length], line, lines: self.line_at(end) - line + 1 })
    }

    /// The closing brace of the first block after `at`; none when a semicolon comes first.
    fn end_of_block(&self, at: usize) -> Option<usize> {
        let (mut braces, mut others) = (0_u32, 0_i32);
        for (offset, byte) in self.code.bytes().enumerate().skip(at) {
            match byte {
                b'(' | b'[' => others += 1,
                b')' | b']' => others -= 1,
                b';' if braces == 0 && others == 0 => return None,
                b'{' => braces += 1,
                b'}' if braces <= 1 => return Some(offset),
                b'}' => braces -= 1,
                _ => {}
            }
        }
        None
    }

    fn test_modules(&self) -> Vec<(usize, usize)> {
        let mut found: Vec<(usize, usize)> = Vec::new();
        for (at, _) in self.code.match_indices(TEST_ONLY) {
            let first = self.line_at(at);
            let within_last = found.last().is_some_and(|(_, last)| first <= *last);
            if let (false, Some(end)) = (within_last, self.end_of_block(at)) {
                found.push((first, self.line_at(end)));
            }
        }
        found
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Blanks comments and literals; gives the ranges of string literals, without their quotes.
fn split(text: &str) -> (String, Vec<(usize, usize)>) {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut literals = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => end_of_line(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => end_of_comment(bytes, at),
            b'"' => {
                let end = end_of_string(bytes, at);
                literals.push((at + 1, end.saturating_sub(1).max(at + 1)));
                end
            }
            b'r' if !follows_word(bytes, at) && raw_hashes(bytes, at).is_some() => {
                let hashes = raw_hashes(bytes, at).unwrap_or(0);
                let (start, last) = raw_range(bytes, at, hashes);
                literals.push((start, last));
                (last + 1 + hashes).min(bytes.len())
            }
            b'\'' => end_of_char(text, at),
            _ => at + 1,
        };
        if end > at + 1 {
            code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
        at = end;
    }
    (String::from_utf8_lossy(&code).into_owned(), literals)
}

fn end_of_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn end_of_comment(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut end) = (0_u32, at);
    while end < bytes.len() {
        if bytes[end..].starts_with(b"/*") {
            (depth, end) = (depth + 1, end + 2);
        } else if bytes[end..].starts_with(b"*/") {
            (depth, end) = (depth - 1, end + 2);
            if depth == 0 {
                return end;
            }
        } else {
            end += 1;
        }
    }
    bytes.len()
}

fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while end < bytes.len() {
        match bytes[end] {
            b'\\' => end += 2,
            b'"' => return end + 1,
            _ => end += 1,
        }
    }
    bytes.len()
}

/// `r"`, `br"` and `cr"` start raw strings, the end of a longer word does not.
fn follows_word(bytes: &[u8], at: usize) -> bool {
    let before = &bytes[..at];
    let before = before.strip_suffix(b"b").or_else(|| before.strip_suffix(b"c")).unwrap_or(before);
    before.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn raw_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn raw_range(bytes: &[u8], at: usize, hashes: usize) -> (usize, usize) {
    let start = at + 2 + hashes;
    let close: Vec<u8> = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let length = bytes[start..].windows(close.len()).position(|window| window == close);
    (start, length.map_or(bytes.len() - 1, |length| start + length).max(start.min(bytes.len() - 1)))
}

/// A character literal, or just the quote of a lifetime.
fn end_of_char(text: &str, at: usize) -> usize {
    let mut rest = text[at + 1..].char_indices();
    match rest.next() {
        Some((_, '\\')) => {
            rest.next();
            rest.find(|(_, c)| *c == '\'').map_or(text.len(), |(offset, _)| at + 1 + offset + 1)
        }
        Some(_) => match rest.next() {
            Some((offset, '\'')) => at + 1 + offset + 1,
            _ => at + 1,
        },
        None => at + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x \" {", 'y', '\'', b"z")"#, "f(        ,    ,     , b   )"),
            ("r\"raw\\\" + br#\"a\"b\"# + hr", "        + b         + hr"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ];
        for (text, code) in cases {
            assert_eq!(Source::parse("a.rs", text).code, code, "{text}");
        }
    }

    #[test]
    fn literals_come_with_their_line() {
        let source = Source::parse("a.rs", "x\n\"one\" r#\"two\"#\n// \"three\"\n");
        assert_eq!(source.literals, [(2, "one"), (2, "two")]);
    }

    #[test]
    fn functions_are_measured_and_declarations_are_not() {
        let text =
            "trait T { fn no(&self) -> [u8; 3]; }\nfn yes() {\n  let f: fn(u8) = g;\n  if x { \"}\" }\n}\n";
        let source = Source::parse("a.rs", text);
        assert_eq!(source.functions(), [Function { name: "yes", line: 2, lines: 4 }]);
    }

    #[test]
    fn files_that_are_compiled_for_tests_only_are_named() {
        let text =
            "//! A.\n#[cfg(test)]\nmod oracle;\nmod b;\n#[cfg(test)]\nmod tests {}\n#[cfg(test)]\nuse x;\n";
        assert_eq!(Source::parse("hub/src/a/mod.rs", text).test_files(), ["hub/src/a/oracle"]);
        assert_eq!(Source::parse("hub/src/a.rs", text).test_files(), ["hub/src/a/oracle"]);
    }

    #[test]
    fn modules_of_tests_are_not_counted() {
        let source = Source::parse("a.rs", "//! A.\nfn f() {}\n#[cfg(test)]\nmod tests {\n  fn g() {}\n}\n");
        assert_eq!(source.lines(), 2);
        assert!(source.in_tests(5) && !source.in_tests(2));
    }
}
