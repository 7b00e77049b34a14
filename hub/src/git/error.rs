//! What can go wrong with a repository.

use super::{secret::Secret, tree::Unreadable, url::InvalidAddress};

/// Longest cause taken over from a library or a server, in bytes.
const CAUSE_BYTES_MAX: usize = 1_000;

/// An error of this folder. No message and no cause holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not one that the hub follows.
    #[error(transparent)]
    Url(#[from] InvalidAddress),
    /// The revision is not a name that Git allows.
    #[error("{revision:?} is not a branch, tag or full commit id")]
    BadRevision {
        /// What was asked for, cut.
        revision: String,
    },
    /// The server answered, and has no such revision.
    #[error("{url} has no revision {revision:?}")]
    NoSuchRevision {
        /// The repository.
        url: String,
        /// What was asked for.
        revision: String,
    },
    /// The server wants credentials, or other ones.
    #[error("{url} refuses access: no credentials, or wrong ones")]
    Unauthorized {
        /// The repository.
        url: String,
        /// What the transport said.
        #[source]
        source: Cause,
    },
    /// The server could not be asked.
    #[error("{action} {url}")]
    Network {
        /// What was tried.
        action: &'static str,
        /// The repository.
        url: String,
        /// What the transport said.
        #[source]
        source: Cause,
    },
    /// The time limit passed.
    #[error("{action} {url} took longer than {limit_s} s")]
    TimedOut {
        /// What was tried.
        action: &'static str,
        /// The repository.
        url: String,
        /// The limit in seconds.
        limit_s: u64,
    },
    /// The local mirror could not be read or written.
    #[error("{action} in the mirror")]
    Mirror {
        /// What was tried.
        action: &'static str,
        /// What the object database said.
        #[source]
        source: Cause,
    },
    /// The commit has nothing at this path.
    #[error("commit {commit} has no {path:?}")]
    NoSuchPath {
        /// The commit, short.
        commit: String,
        /// The path asked for.
        path: String,
    },
    /// More than a bound allows.
    #[error("more than {max} {what}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A tree that cannot be read safely.
    #[error(transparent)]
    Tree(#[from] Unreadable),
    /// The worker that did the reading ended early.
    #[error("a Git task ended early")]
    Task,
}

impl Error {
    /// Whether the same call may succeed later. Decides retry, never the log level.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Error::Unauthorized { .. }
                | Error::Network { .. }
                | Error::TimedOut { .. }
                | Error::Mirror { .. }
                | Error::Task
        )
    }
}

/// The chain of a cause as one bounded line, with every secret struck out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

impl Cause {
    /// Flattens `error` and its sources; `secrets` are replaced by `***`.
    pub(super) fn of(error: &dyn std::error::Error, secrets: &[&Secret]) -> Cause {
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(source) = next {
            let part = source.to_string();
            if !text.contains(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            next = source.source();
        }
        Cause::text(&text, secrets)
    }

    /// A cause that is text already.
    pub(super) fn text(text: &str, secrets: &[&Secret]) -> Cause {
        let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        for secret in secrets.iter().filter(|secret| !secret.expose().is_empty()) {
            text = text.replace(secret.expose(), "***");
        }
        Cause(cut(&text, CAUSE_BYTES_MAX).to_owned())
    }

    /// Whether the text holds `part`.
    pub(super) fn mentions(&self, part: &str) -> bool {
        self.0.contains(part)
    }
}

/// The longest prefix of `text` with at most `max` bytes.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
