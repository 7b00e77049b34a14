//! Reading of trees and commits in the object database.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use gix::{ObjectId, Repository, objs::tree::EntryKind};
use taffrail_core::{id::CommitId, time::At};

use super::{
    CommitMeta, Error, TEXT_BYTES_MAX,
    error::{Cause, cut},
    tree::{BLOB_BYTES_MAX, Blobs, CHANGES_MAX, DEPTH_MAX, ENTRIES_MAX, Entry, Mode, Tree, Unreadable},
};

/// Turns an error of the object database into ours.
pub(super) fn broken<E: std::error::Error>(action: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Mirror { action, source: Cause::of(&source, &[]) }
}

/// Reads the hexadecimal id of `commit`.
pub(super) fn object_id(commit: &CommitId) -> Result<ObjectId, Error> {
    ObjectId::from_hex(commit.as_str().as_bytes()).map_err(broken("read commit id"))
}

/// Our id of `id`.
pub(super) fn commit_id(id: &gix::oid) -> CommitId {
    CommitId::parse(&id.to_hex().to_string())
        .expect("Git prints ids as 40 or 64 lower-case hexadecimal characters")
}

pub(super) fn meta(repo: &Repository, commit: &CommitId) -> Result<CommitMeta, Error> {
    let found = repo.find_commit(object_id(commit)?).map_err(broken("find commit"))?;
    let decoded = found.decode().map_err(broken("read commit"))?;
    let author = decoded.author().map_err(broken("read author"))?;
    let seconds = found.time().map_err(broken("read commit time"))?.seconds;
    let text = |bytes: &[u8]| {
        let text: String =
            String::from_utf8_lossy(bytes).trim().chars().filter(|c| !c.is_control()).collect();
        cut(&text, TEXT_BYTES_MAX).to_owned()
    };
    let message: &[u8] = decoded.message.as_ref();
    let first = message.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
    Ok(CommitMeta {
        id: commit.clone(),
        author_name: text(author.name.as_ref()),
        author_email: text(author.email.as_ref()),
        subject: text(first.unwrap_or_default()),
        committed_at: At(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000)),
        parents: found.parent_ids().map(|id| commit_id(&id)).collect(),
    })
}

pub(super) fn is_ancestor(repo: &Repository, old: &CommitId, new: &CommitId) -> Result<bool, Error> {
    let (old, new) = (object_id(old)?, object_id(new)?);
    for id in [old, new] {
        repo.find_commit(id).map_err(broken("find commit"))?;
    }
    Ok(old == new
        || match repo.merge_base(old, new) {
            Ok(base) => base.is_some_and(|base| base.detach() == old),
            Err(error) if error.is_not_found() => false,
            Err(error) => return Err(broken("walk history")(error)),
        })
}

fn root_tree(repo: &Repository, commit: &CommitId) -> Result<ObjectId, Error> {
    let found = repo.find_commit(object_id(commit)?).map_err(broken("find commit"))?;
    Ok(found.tree_id().map_err(broken("read commit"))?.detach())
}

/// One level of a tree: name to kind and id.
type Level = BTreeMap<String, (EntryKind, ObjectId)>;

fn level(repo: &Repository, id: ObjectId, path: &str) -> Result<Level, Error> {
    let tree = repo.find_tree(id).map_err(broken("find tree"))?;
    let mut level = Level::new();
    for entry in tree.iter() {
        let entry = entry.map_err(broken("read tree"))?;
        let name = std::str::from_utf8(entry.filename().as_ref()).ok().filter(|name| is_honest(name));
        let Some(name) = name else {
            let path = join(path, &entry.filename().to_string().escape_debug().to_string());
            return Err(Unreadable::Name { path }.into());
        };
        level.insert(name.to_owned(), (entry.kind(), entry.object_id()));
    }
    Ok(level)
}

/// Whether a name may stand in a tree: trees made by hand can hold names that climb out of it.
fn is_honest(name: &str) -> bool {
    let odd = |c: char| c == '/' || c == '\\' || c.is_control();
    !name.is_empty()
        && name != "."
        && name != ".."
        && !name.eq_ignore_ascii_case(".git")
        && !name.contains(odd)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn mode(kind: EntryKind) -> Mode {
    match kind {
        EntryKind::BlobExecutable => Mode::Executable,
        EntryKind::Link => Mode::Symlink,
        EntryKind::Commit => Mode::Submodule,
        EntryKind::Blob | EntryKind::Tree => Mode::File,
    }
}

pub(super) fn read_tree(repo: &Repository, commit: &CommitId, prefix: &str) -> Result<Tree, Error> {
    let missing = || Error::NoSuchPath { commit: commit.short().to_owned(), path: prefix.to_owned() };
    let (kind, id) = entry_at(repo, commit, prefix)?.ok_or_else(missing)?;
    let mut entries = BTreeMap::new();
    if kind == EntryKind::Tree {
        collect(repo, id, prefix, 0, &mut entries)?;
    } else {
        entries.insert(prefix.to_owned(), Entry { mode: mode(kind), oid: id.to_hex().to_string() });
    }
    Ok(Tree::new(entries, Arc::new(Database(repo.clone().into_sync()))))
}

fn collect(
    repo: &Repository,
    id: ObjectId,
    path: &str,
    depth: usize,
    entries: &mut BTreeMap<String, Entry>,
) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Unreadable::Deep { path: path.to_owned() }.into());
    }
    for (name, (kind, id)) in level(repo, id, path)? {
        let path = join(path, &name);
        if kind == EntryKind::Tree {
            collect(repo, id, &path, depth + 1, entries)?;
        } else {
            entries.insert(path, Entry { mode: mode(kind), oid: id.to_hex().to_string() });
        }
        if entries.len() > ENTRIES_MAX {
            return Err(Error::TooMany { what: "files in the tree", max: ENTRIES_MAX });
        }
    }
    Ok(())
}

/// Kind and id at `path`.
pub(super) fn entry_at(
    repo: &Repository,
    commit: &CommitId,
    path: &str,
) -> Result<Option<(EntryKind, ObjectId)>, Error> {
    let mut found = (EntryKind::Tree, root_tree(repo, commit)?);
    for name in path.split('/').filter(|name| !name.is_empty()) {
        if found.0 != EntryKind::Tree {
            return Ok(None);
        }
        match level(repo, found.1, "")?.remove(name) {
            Some(next) => found = next,
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

pub(super) fn changed_paths(repo: &Repository, old: &CommitId, new: &CommitId) -> Result<Vec<String>, Error> {
    let mut paths = Vec::new();
    let (old, new) = (root_tree(repo, old)?, root_tree(repo, new)?);
    compare(repo, Some((EntryKind::Tree, old)), Some((EntryKind::Tree, new)), "", 0, &mut paths)?;
    paths.sort();
    paths.dedup();
    Ok(paths)
}

type Side = Option<(EntryKind, ObjectId)>;

fn compare(
    repo: &Repository,
    old: Side,
    new: Side,
    path: &str,
    depth: usize,
    paths: &mut Vec<String>,
) -> Result<(), Error> {
    if old == new {
        return Ok(());
    }
    if depth > DEPTH_MAX {
        return Err(Unreadable::Deep { path: path.to_owned() }.into());
    }
    let is_file = |side: &Side| side.is_some_and(|(kind, _)| kind != EntryKind::Tree);
    if is_file(&old) || is_file(&new) {
        paths.push(path.to_owned());
        if paths.len() > CHANGES_MAX {
            return Err(Error::TooMany { what: "changed paths", max: CHANGES_MAX });
        }
    }
    let below = |side: Side| match side {
        Some((EntryKind::Tree, id)) => level(repo, id, path),
        _ => Ok(Level::new()),
    };
    let (old, new) = (below(old)?, below(new)?);
    for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
        let (old, new) = (old.get(name).copied(), new.get(name).copied());
        compare(repo, old, new, &join(path, name), depth + 1, paths)?;
    }
    Ok(())
}

/// Contents out of the object database of a mirror.
struct Database(gix::ThreadSafeRepository);

impl Blobs for Database {
    fn load(&self, path: &str, entry: &Entry) -> Result<Bytes, Unreadable> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Unreadable::Read {
            path: path.to_owned(),
            source,
        };
        let id =
            ObjectId::from_hex(entry.oid.as_bytes()).map_err(|error| failed(error.to_string().into()))?;
        let repo = self.0.to_thread_local();
        let header = repo.find_header(id).map_err(|error| failed(error.to_string().into()))?;
        if header.size() > BLOB_BYTES_MAX as u64 {
            return Err(Unreadable::Large { path: path.to_owned(), bytes: header.size() });
        }
        let mut blob = repo.find_blob(id).map_err(|error| failed(error.to_string().into()))?;
        Ok(Bytes::from(blob.take_data()))
    }
}
