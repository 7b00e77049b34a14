//! The one reader of YAML and JSON manifests; its result equals kubectl's.
//!
//! The scanner is `serde-saphyr`'s; meaning is given here, after the rules that kubectl's reader applies (YAML 1.1
//! words such as `on`, octal numbers, integral floats as integers). Differences that stay, all on purpose:
//!
//! | input | kubectl | here |
//! |---|---|---|
//! | a field twice in one map | the last one wins, with a warning by the server | refused with the line |
//! | text after `---` on the same line, or a document after `...` | silently dropped or refused | read as a document |
//! | more nodes than [`NODES_MAX`], nesting deeper than [`DEPTH_MAX`] | read, or refused by its own bounds | refused |
//! | a number as a field name that needs an exponent | printed with one | refused |
//! | a document that is a list or a word | refused when it is applied | refused when it is read |
//! | `!!binary` that is no UTF-8 | replaced characters | refused |

mod build;
mod json;
#[cfg(test)]
mod oracle;
mod scalar;

use serde_json::Value;

/// Most nodes of one file, aliases counted each time: ten times what a file of 10 MiB holds in practice.
pub const NODES_MAX: usize = 1_000_000;
/// Most bytes of text in one file after aliases: what a render may print, twice.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Deepest nesting: JSON readers on the way to the API server end at the same depth.
pub const DEPTH_MAX: usize = 120;

/// One object, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Path of its file.
    pub file: String,
    /// Position in the file, from 1, empty documents counted.
    pub document: usize,
    /// Line of its first field, from 1; of the list for an item of a list.
    pub line: u32,
    /// A JSON object.
    pub value: Value,
}

/// A file that cannot be read; nothing of it is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: document {document}, line {line}, column {column}: {cause}")]
pub struct Error {
    /// Path of the file.
    pub file: String,
    /// Document in it, from 1.
    pub document: usize,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 if unknown.
    pub column: u32,
    /// What is wrong.
    pub cause: String,
}

/// Reads all objects of one file; lists are taken apart.
///
/// # Errors
/// [`Error`] if any document cannot be read: a file is used whole or not at all.
pub fn read(text: &[u8], file: &str) -> Result<Vec<Document>, Error> {
    let text = checked(text, file)?;
    let built = text.trim_start().starts_with('{').then(|| json::documents(text)).flatten();
    let built = match built {
        Some(built) => built,
        None => build::documents(text).map_err(|broken| Error {
            file: file.to_owned(),
            document: broken.document,
            line: broken.line,
            column: broken.column,
            cause: broken.cause,
        })?,
    };
    let mut documents = Vec::with_capacity(built.len());
    for one in built {
        let failed = |cause: &str| Error {
            file: file.to_owned(),
            document: one.document,
            line: one.line,
            column: 0,
            cause: cause.to_owned(),
        };
        let mut objects = Vec::new();
        flatten(one.value, 0, &mut objects).map_err(failed)?;
        documents.extend(objects.into_iter().map(|value| Document {
            file: file.to_owned(),
            document: one.document,
            line: one.line,
            value,
        }));
    }
    Ok(documents)
}

/// Line of the node at `pointer` in the given document (from 1) of a file; `None` if there is none.
///
/// A pointer to a field that is missing answers with the line of the innermost map that is there.
pub fn line_of(text: &[u8], document: usize, pointer: &str) -> Option<u32> {
    let lines = build::lines(checked(text, "").ok()?);
    let mut pointer = pointer;
    loop {
        if let Some(line) = lines.get(&(document, pointer.to_owned())) {
            return Some(*line);
        }
        pointer = pointer.rsplit_once('/')?.0;
    }
}

/// Text without byte order mark; refuses what is no text.
fn checked<'a>(text: &'a [u8], file: &str) -> Result<&'a str, Error> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let at = |offset: usize, cause: &str| {
        let before = &text[..offset];
        let line = before.split(|byte| *byte == b'\n').count();
        let column = offset - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1) + 1;
        Error {
            file: file.to_owned(),
            document: 1,
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            cause: format!("{cause} at byte {offset}"),
        }
    };
    let valid = std::str::from_utf8(text).map_err(|error| at(error.valid_up_to(), "invalid UTF-8"))?;
    let is_odd = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    match valid.char_indices().find(|(_, c)| is_odd(*c)) {
        Some((offset, '\0')) => Err(at(offset, "a NUL character")),
        Some((offset, _)) => Err(at(offset, "a control character")),
        None => Ok(valid),
    }
}

/// Deepest list of lists.
const LISTS_MAX: usize = 8;

fn flatten(value: Value, depth: usize, objects: &mut Vec<Value>) -> Result<(), &'static str> {
    let Value::Object(mut map) = value else {
        return Err("not an object: a manifest is a map with apiVersion, kind and metadata");
    };
    let kind = map.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let item_kind = kind.strip_suffix("List").filter(|_| map.get("items").is_some_and(Value::is_array));
    let Some(item_kind) = item_kind else {
        objects.push(Value::Object(map));
        return Ok(());
    };
    if depth == LISTS_MAX {
        return Err("lists inside lists, too deep");
    }
    let version = map.get("apiVersion").cloned();
    let Some(Value::Array(items)) = map.remove("items") else {
        return Ok(());
    };
    for mut item in items {
        if let (Value::Object(fields), false) = (&mut item, item_kind.is_empty()) {
            fields.entry("kind").or_insert_with(|| Value::from(item_kind));
            if let Some(version) = &version {
                fields.entry("apiVersion").or_insert_with(|| version.clone());
            }
        }
        flatten(item, depth + 1, objects)?;
    }
    Ok(())
}
