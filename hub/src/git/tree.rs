//! The files of a commit: names at once, contents when asked for.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

/// Most files of one tree: a listing costs about 200 bytes each, and a `GitOps` repository has a few thousand.
pub const ENTRIES_MAX: usize = 200_000;
/// Most files whose contents one render may load.
pub const FILES_MAX: usize = 10_000;
/// Most bytes that one render may load.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest single file that is loaded: Kubernetes objects end at about 1.5 MiB each.
pub const BLOB_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Most paths that a comparison of two commits lists.
pub const CHANGES_MAX: usize = 100_000;
/// Deepest folder in a tree.
pub const DEPTH_MAX: usize = 64;

/// What a name in a tree stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// A plain file.
    File,
    /// A file with the execute bit; its content is read like any other.
    Executable,
    /// A symbolic link; its content is the target.
    Symlink,
    /// A commit of another repository; never followed.
    Submodule,
}

/// One name in a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// What it is.
    pub mode: Mode,
    /// Git's object id of the content, in hexadecimal.
    pub oid: String,
}

/// A tree that cannot be read safely, or holds more than a bound allows.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A name that no honest tree holds.
    #[error("the tree holds a name that is not allowed: {path:?}")]
    Name {
        /// The offending path, made printable.
        path: String,
    },
    /// A file beyond [`BLOB_BYTES_MAX`].
    #[error("{path} has {bytes} bytes, more than {BLOB_BYTES_MAX}")]
    Large {
        /// The file.
        path: String,
        /// Its size.
        bytes: u64,
    },
    /// Folders beyond [`DEPTH_MAX`].
    #[error("{path} is deeper than {DEPTH_MAX} folders")]
    Deep {
        /// The folder.
        path: String,
    },
    /// The object database failed.
    #[error("read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Where contents come from.
pub trait Blobs: Send + Sync {
    /// The content of `entry`, which stands at `path`.
    ///
    /// # Errors
    /// [`Unreadable::Large`] beyond [`BLOB_BYTES_MAX`], [`Unreadable::Read`] if it cannot be read.
    fn load(&self, path: &str, entry: &Entry) -> Result<Bytes, Unreadable>;
}

/// The files under a folder at a commit, by path from the root of the repository.
#[derive(Clone)]
pub struct Tree {
    entries: Arc<BTreeMap<String, Entry>>,
    blobs: Arc<dyn Blobs>,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Tree of {} files", self.entries.len())
    }
}

impl Tree {
    /// A tree of `entries` whose contents `blobs` loads.
    pub fn new(entries: BTreeMap<String, Entry>, blobs: Arc<dyn Blobs>) -> Tree {
        Tree { entries: Arc::new(entries), blobs }
    }

    /// All files by path, sorted.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// The file at `path`, if there is one.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Whether `path` is a folder with at least one file; "" is the root.
    pub fn is_folder(&self, path: &str) -> bool {
        self.under(path).next().is_some()
    }

    /// All files below the folder `path`, sorted; "" is the root.
    pub fn under<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a String, &'a Entry)> + use<'a> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let start = std::ops::Bound::Included(prefix.clone());
        self.entries
            .range((start, std::ops::Bound::Unbounded))
            .take_while(move |(name, _)| name.starts_with(&prefix))
    }

    /// The content of the file at `path`; `None` if there is none.
    ///
    /// # Errors
    /// [`Unreadable`] if it is too large or cannot be read.
    pub fn load(&self, path: &str) -> Result<Option<Bytes>, Unreadable> {
        self.entries.get(path).map(|entry| self.blobs.load(path, entry)).transpose()
    }
}

/// Contents held in memory, for tests and for trees made by hand.
#[derive(Default)]
pub struct Memory(BTreeMap<String, Bytes>);

impl Memory {
    /// A tree of plain files; a value that starts with `-> ` becomes a symbolic link to what follows.
    pub fn tree(files: &[(&str, &str)]) -> Tree {
        let mut entries = BTreeMap::new();
        let mut memory = Memory::default();
        for (path, text) in files {
            let (mode, content) = match text.strip_prefix("-> ") {
                Some(target) => (Mode::Symlink, target),
                None => (Mode::File, *text),
            };
            let digest = ring::digest::digest(&ring::digest::SHA256, content.as_bytes());
            let oid = digest.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
            entries.insert((*path).to_owned(), Entry { mode, oid: oid.clone() });
            memory.0.insert(oid, Bytes::copy_from_slice(content.as_bytes()));
        }
        Tree::new(entries, Arc::new(memory))
    }
}

impl Blobs for Memory {
    fn load(&self, path: &str, entry: &Entry) -> Result<Bytes, Unreadable> {
        let bytes = self
            .0
            .get(&entry.oid)
            .cloned()
            .ok_or_else(|| Unreadable::Read { path: path.to_owned(), source: "no such object".into() })?;
        if bytes.len() > BLOB_BYTES_MAX {
            return Err(Unreadable::Large { path: path.to_owned(), bytes: bytes.len() as u64 });
        }
        Ok(bytes)
    }
}
