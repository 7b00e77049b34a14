//! Mirrors of the declared repositories.
//!
//! ```text
//!  look (ls-refs) ──moved?──► fetch ──► meta, is_ancestor, changed_paths ──► read_tree ──► render
//! ```
//!
//! A mirror is a bare repository that only grows: nothing is ever collected, so a commit that was fetched once stays
//! readable after its branch was rewritten or deleted. No file of a commit is ever written to a work tree; blobs are
//! read from the object database. `gix` lives in this folder only.

pub mod error;
pub mod gix_mirror;
pub mod remote;
pub mod secret;
pub mod tree;
pub mod url;
mod walk;
pub mod webhook;

#[cfg(test)]
mod conformance;

use async_trait::async_trait;
use std::collections::BTreeMap;
use taffrail_core::{id::CommitId, time::At};

pub use error::Error;
pub use gix_mirror::GixMirror;
pub use secret::Secret;
pub use tree::{Blobs, Entry, Mode, Tree};
pub use url::{Address, Credentials, Remote};

/// What is known of a commit without its tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitMeta {
    /// The commit.
    pub id: CommitId,
    /// Name of the author, at most [`TEXT_BYTES_MAX`] bytes.
    pub author_name: String,
    /// Address of the author, at most [`TEXT_BYTES_MAX`] bytes.
    pub author_email: String,
    /// First line of the message, at most [`TEXT_BYTES_MAX`] bytes.
    pub subject: String,
    /// When it was committed, by the committer's clock.
    pub committed_at: At,
    /// Parents in order; empty for a root commit.
    pub parents: Vec<CommitId>,
}

/// Longest text taken over from a commit, in bytes: enough for a line that people read; the rest stays in Git.
pub const TEXT_BYTES_MAX: usize = 500;

/// Access to one repository.
///
/// Promises, each checked by `conformance.rs`:
/// 1. "Could not read" is an error; `Ok(None)` of [`Mirror::look`] means the server answered and has no such revision.
/// 2. `look` never transfers objects, `advance` only when there is something new; `fetch` returns only commits whose history and trees are then local.
/// 3. A commit that was fetched stays readable, whatever happens to its branch.
/// 4. Every network call ends within its time limit.
/// 5. Credentials go to the scheme, host and port of the declared URL only, and appear in no error.
#[async_trait]
pub trait Mirror: Send + Sync {
    /// Asks the server what `revision` names now: `HEAD`, a branch, a tag (peeled), or a full commit id, which is
    /// answered without asking.
    async fn look(&self, revision: &str) -> Result<Option<CommitId>, Error>;

    /// Looks at several revisions over one connection and brings what is new, so that the answers are local afterwards.
    /// When nothing is new no object is transferred. `None` stands for a revision that the server does not have.
    async fn advance(&self, revisions: &[String]) -> Result<BTreeMap<String, Option<CommitId>>, Error>;

    /// Brings `revision` with its history into the mirror and returns its commit.
    ///
    /// # Errors
    /// [`Error::NoSuchRevision`] if the server has no such revision; network and time errors.
    async fn fetch(&self, revision: &str) -> Result<CommitId, Error>;

    /// What a local commit says of itself.
    async fn meta(&self, commit: &CommitId) -> Result<CommitMeta, Error>;

    /// Whether `old` is `new` or one of its ancestors; both are local.
    async fn is_ancestor(&self, old: &CommitId, new: &CommitId) -> Result<bool, Error>;

    /// Paths of files that differ between two local commits, sorted, relative to the root of the repository.
    ///
    /// # Errors
    /// [`Error::TooMany`] beyond [`tree::CHANGES_MAX`]: the caller then treats everything as touched.
    async fn changed_paths(&self, old: &CommitId, new: &CommitId) -> Result<Vec<String>, Error>;

    /// The files under `prefix` ("" for all) at a local commit; contents are loaded when asked for.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`] if `prefix` does not exist: a missing folder is not an empty one.
    async fn read_tree(&self, commit: &CommitId, prefix: &str) -> Result<Tree, Error>;

    /// Object id of the file or folder at `path` ("" for the root) at a local commit; `None` if nothing is there.
    async fn oid_at(&self, commit: &CommitId, path: &str) -> Result<Option<String>, Error>;
}
