//! Which files a render reads: paths are resolved inside the tree, and nowhere else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::{Error, Reason};
use crate::git::{
    Mode, Tree,
    tree::{BYTES_MAX, FILES_MAX},
};

/// Most symbolic links on the way to one file, as in Linux.
const LINKS_MAX: usize = 40;
/// First bytes of a Git LFS pointer.
const LFS_START: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The files of one render.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// Contents by their real path.
    pub(super) files: BTreeMap<String, Bytes>,
    /// Symbolic links on the way, with their targets.
    pub(super) links: BTreeMap<String, String>,
    /// Manifests among the files, in the order in which they are read.
    pub(super) manifests: Vec<String>,
    /// Folders whose whole content counts, and files (there or not) whose change makes a difference.
    pub(super) inputs: BTreeSet<String>,
    bytes: usize,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A file at this real path.
    File(String),
    /// A folder at this real path ("" is the root).
    Folder(String),
    /// Nothing at this real path.
    Nothing(String),
}

impl Plan {
    /// Follows `path` from the folder `base`, through symbolic links, inside the tree. `user` is the file that names it.
    pub(super) fn resolve(
        &mut self,
        tree: &Tree,
        user: &str,
        base: &str,
        path: &str,
    ) -> Result<Found, Error> {
        let refused = |cause: String| Error::new(Reason::Refused, user, cause);
        if path.starts_with('/') {
            return Err(refused(format!(
                "{path:?} is an absolute path: only files of the repository can be used"
            )));
        }
        let mut real: Vec<String> =
            base.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let mut ahead: VecDeque<String> = path.split('/').map(str::to_owned).collect();
        let mut hops = 0;
        while let Some(part) = ahead.pop_front() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    if real.pop().is_none() {
                        return Err(refused(format!("{path:?} leads out of the repository")));
                    }
                    continue;
                }
                _ => real.push(part),
            }
            let here = real.join("/");
            match tree.get(&here).map(|entry| entry.mode) {
                Some(Mode::Submodule) => {
                    return Err(refused(format!("{here:?} is a submodule, and submodules are not followed")));
                }
                Some(Mode::Symlink) => {
                    hops += 1;
                    let target = tree.load(&here)?.unwrap_or_default();
                    let target = String::from_utf8_lossy(&target).into_owned();
                    if hops > LINKS_MAX || target.starts_with('/') || target.is_empty() {
                        return Err(refused(format!(
                            "the link {here:?} leads out of the repository or in a circle"
                        )));
                    }
                    self.inputs.insert(here.clone());
                    self.links.insert(here, target.clone());
                    real.pop();
                    target.split('/').rev().for_each(|part| ahead.push_front(part.to_owned()));
                }
                Some(Mode::File | Mode::Executable) | None => {}
            }
        }
        let real = real.join("/");
        Ok(if tree.get(&real).is_some() {
            Found::File(real)
        } else if tree.is_folder(&real) {
            Found::Folder(real)
        } else {
            Found::Nothing(real)
        })
    }

    /// Loads the file at the real path `path` into the plan and returns its content.
    pub(super) fn take(&mut self, tree: &Tree, path: &str) -> Result<Bytes, Error> {
        if let Some(bytes) = self.files.get(path) {
            return Ok(bytes.clone());
        }
        let missing = || Error::new(Reason::Missing, path, "is not in the repository");
        let bytes = tree.load(path)?.ok_or_else(missing)?;
        if bytes.starts_with(LFS_START) {
            let cause = "is a Git LFS pointer, and LFS is not followed";
            return Err(Error::new(Reason::Refused, path, cause));
        }
        self.bytes += bytes.len();
        if self.files.len() >= FILES_MAX {
            let cause = format!("the render reads more than {FILES_MAX} files");
            return Err(Error::new(Reason::Limit, path, cause));
        }
        if self.bytes > BYTES_MAX {
            let cause = format!("the render reads more than {BYTES_MAX} bytes");
            return Err(Error::new(Reason::Limit, path, cause));
        }
        self.inputs.insert(path.to_owned());
        self.files.insert(path.to_owned(), bytes.clone());
        Ok(bytes)
    }
}

/// Whether a change of the sorted or unsorted `changed` paths concerns a render that read `inputs`: an input is a
/// file, or a folder of which everything counts ("" is the whole tree).
pub fn touches(inputs: &[String], changed: &[String]) -> bool {
    let hits = |input: &String, path: &String| {
        let rest = path.strip_prefix(input.as_str());
        input.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    changed.iter().any(|path| inputs.iter().any(|input| hits(input, path)))
}
