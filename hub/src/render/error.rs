//! Why a tree gives no objects.

use super::yaml;
use crate::git::tree::Unreadable;

/// A tree that gives no objects; the cluster keeps what it has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{cause}", place(.file, *.document, *.line))]
pub struct Error {
    /// What kind of failure it is.
    pub reason: Reason,
    /// The file at fault, from the root of the repository; empty if none is.
    pub file: String,
    /// Document in it, from 1; 0 if unknown.
    pub document: usize,
    /// Line in it, from 1; 0 if unknown.
    pub line: u32,
    /// What is wrong, at most a few hundred bytes.
    pub cause: String,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A manifest or kustomization is wrong.
    Manifest,
    /// Something that is not supported or not allowed, refused by name.
    Refused,
    /// The folder, or a file that another one names, is not in the tree.
    Missing,
    /// A limit on time, memory, size or number.
    Limit,
    /// The machine, not the manifests: no such program, no space.
    Machine,
}

impl Error {
    /// An error without a place in a file.
    pub(super) fn new(reason: Reason, file: &str, cause: impl Into<String>) -> Error {
        Error { reason, file: file.to_owned(), document: 0, line: 0, cause: cause.into() }
    }

    /// Whether the same job may succeed later without another commit.
    pub fn is_transient(&self) -> bool {
        matches!(self.reason, Reason::Machine | Reason::Limit)
    }
}

fn place(file: &str, document: usize, line: u32) -> String {
    match (file.is_empty(), document, line) {
        (true, _, _) => String::new(),
        (false, 0, 0) => format!("{file}: "),
        (false, document, 0) => format!("{file}: document {document}: "),
        (false, 0, line) => format!("{file}: line {line}: "),
        (false, document, line) => format!("{file}: document {document}, line {line}: "),
    }
}

impl From<yaml::Error> for Error {
    fn from(error: yaml::Error) -> Error {
        Error {
            reason: Reason::Manifest,
            file: error.file,
            document: error.document,
            line: error.line,
            cause: error.cause,
        }
    }
}

impl From<Unreadable> for Error {
    fn from(error: Unreadable) -> Error {
        let (reason, file) = match &error {
            Unreadable::Large { path, .. } | Unreadable::Deep { path } => (Reason::Limit, path.clone()),
            Unreadable::Read { path, .. } => (Reason::Machine, path.clone()),
            Unreadable::Name { path } => (Reason::Refused, path.clone()),
        };
        let cause = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Error::new(reason, &file, cause)
    }
}
