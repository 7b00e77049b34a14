//! Mirrors kept by `gix` in bare repositories.

use std::collections::BTreeMap;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use gix::ThreadSafeRepository;
use taffrail_core::id::CommitId;

use super::{
    CommitMeta, Error, Mirror, Tree,
    remote::{Limits, Revision, Server, peel},
    url::Remote,
    walk,
};

/// Grace beyond a network limit before the waiting side gives up, so that the transport's own error comes first.
const GRACE: Duration = Duration::from_secs(5);
/// Longest reading of the local mirror: a cold tree of 200,000 files stays far below.
const READ_LIMIT: Duration = Duration::from_mins(2);

/// Slots for packs beyond those that are there; half of them is room for what one look at a server may fetch.
const PACKS_PER_FETCH: usize = 32;

/// A bare mirror of one repository.
#[derive(Clone)]
pub struct GixMirror {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    /// Opened anew before its packs outgrow the slots that it was opened with.
    repo: RwLock<Opened>,
    remote: Remote,
    limits: Limits,
    /// One fetch at a time: two would download the same pack.
    fetching: tokio::sync::Mutex<()>,
}

impl GixMirror {
    /// Opens the mirror in `folder`, making it first if it is not there.
    ///
    /// # Errors
    /// [`Error::Mirror`] if the folder cannot be made or holds something else.
    pub fn open(folder: &Path, remote: Remote, limits: Limits) -> Result<GixMirror, Error> {
        // The HTTP client takes the process-wide provider; a second installation is refused and changes nothing.
        drop(rustls::crypto::ring::default_provider().install_default());
        if !folder.join("HEAD").exists() {
            std::fs::create_dir_all(folder).map_err(walk::broken("make the folder"))?;
            gix::ThreadSafeRepository::init_opts(
                folder,
                gix::create::Kind::Bare,
                gix::create::Options::default(),
                gix::open::Options::isolated(),
            )
            .map_err(walk::broken("make the repository"))?;
        }
        unlock(folder)?;
        let repo = RwLock::new(open(folder, packs(folder)?)?);
        let (folder, fetching) = (folder.to_owned(), tokio::sync::Mutex::new(()));
        Ok(GixMirror { inner: Arc::new(Inner { folder, repo, remote, limits, fetching }) })
    }

    /// The repository that this mirrors.
    pub fn remote(&self) -> &Remote {
        &self.inner.remote
    }

    /// Runs blocking work away from the async threads, for at most `limit`; what outlives it is told to stop.
    async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        limit: Duration,
        work: impl FnOnce(&Inner, &Arc<AtomicBool>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let interrupt = Arc::new(AtomicBool::new(false));
        let (inner, flag) = (self.inner.clone(), interrupt.clone());
        let task = tokio::task::spawn_blocking(move || work(&inner, &flag));
        if let Ok(joined) = tokio::time::timeout(limit, task).await {
            return joined.map_err(|_| Error::Task)?;
        }
        interrupt.store(true, Ordering::Relaxed);
        let url = self.inner.remote.url.to_string();
        Err(Error::TimedOut { action, url, limit_s: limit.as_secs() })
    }
}

/// A repository, and how many packs it can hold open.
struct Opened {
    repo: ThreadSafeRepository,
    slots: usize,
}

/// Opens a repository of so many packs, with room for as many again: the number of slots is fixed while it is open.
fn open(folder: &Path, packs: usize) -> Result<Opened, Error> {
    let slots = u16::try_from(packs * 2 + PACKS_PER_FETCH).unwrap_or(u16::MAX);
    let options = gix::open::Options::isolated()
        .open_path_as_is(true)
        .object_store_slots(gix::odb::store::init::Slots::Given(slots))
        // Loopback and intranet servers; the scheme was checked when the URL was read.
        .config_overrides(["protocol.allow=always"]);
    let repo = options.open(folder).map_err(walk::broken("open the repository"))?;
    Ok(Opened { repo, slots: usize::from(slots) })
}

/// Removes the locks that a killed hub left in its mirror: nobody else writes there, and the next fetch would wait for
/// them in vain.
fn unlock(folder: &Path) -> Result<(), Error> {
    let mut folders = vec![folder.to_owned(), folder.join("refs")];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).map_err(walk::broken("look for left locks"))? {
            let path = entry.map_err(walk::broken("look for left locks"))?.path();
            if path.is_dir() && next.starts_with(folder.join("refs")) {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "lock") {
                std::fs::remove_file(&path).map_err(walk::broken("remove a left lock"))?;
                tracing::warn!(path = %path.display(), "removed the lock that a killed hub left");
            }
        }
    }
    Ok(())
}

/// How many packs lie in a repository.
fn packs(folder: &Path) -> Result<usize, Error> {
    let listed = match std::fs::read_dir(folder.join("objects/pack")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        listed => listed.map_err(walk::broken("list the packs"))?,
    };
    Ok(listed.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "idx")).count())
}

impl Inner {
    fn repo(&self) -> gix::Repository {
        self.repo.read().unwrap_or_else(PoisonError::into_inner).repo.to_thread_local()
    }

    /// Sees to it that what is fetched next can be read: every fetch leaves a pack.
    fn make_room(&self) -> Result<(), Error> {
        let packs = packs(&self.folder)?;
        let mut opened = self.repo.write().unwrap_or_else(PoisonError::into_inner);
        if packs + PACKS_PER_FETCH / 2 > opened.slots {
            *opened = open(&self.folder, packs)?;
        }
        Ok(())
    }

    fn server(&self) -> Server<'_> {
        Server { remote: &self.remote, limits: self.limits }
    }

    fn advance(
        &self,
        revisions: Vec<(String, Revision)>,
        interrupt: &Arc<AtomicBool>,
    ) -> Result<BTreeMap<String, Option<CommitId>>, Error> {
        self.make_room()?;
        let mut found = BTreeMap::new();
        let (commits, names): (Vec<_>, Vec<_>) =
            revisions.into_iter().partition(|(_, revision)| matches!(revision, Revision::Commit(_)));
        for (text, revision) in commits {
            let commit = self.fetch(&revision, &text, interrupt)?;
            found.insert(text, Some(commit));
        }
        if names.is_empty() {
            return Ok(found);
        }
        let (texts, asked): (Vec<String>, Vec<Revision>) = names.into_iter().unzip();
        let ids = self.server().advance(&self.repo(), &asked, interrupt)?;
        let repo = self.repo();
        for (text, id) in texts.into_iter().zip(ids) {
            found.insert(text, id.map(|id| peel(&repo, id)).transpose()?);
        }
        Ok(found)
    }

    fn fetch(&self, revision: &Revision, text: &str, interrupt: &Arc<AtomicBool>) -> Result<CommitId, Error> {
        self.make_room()?;
        let repo = self.repo();
        if let Revision::Commit(commit) = revision {
            let id = walk::object_id(commit)?;
            if repo.has_object(id) {
                return peel(&repo, id);
            }
            self.server().fetch(&repo, commit.as_str(), interrupt)?;
            return peel(&self.repo(), id);
        }
        let missing =
            || Error::NoSuchRevision { url: self.remote.url.to_string(), revision: text.to_owned() };
        let (name, id) = self.server().look(&repo, revision)?.ok_or_else(missing)?;
        if !repo.has_object(id) {
            self.server().fetch(&repo, &name, interrupt)?;
        }
        // The reference may have moved between the two requests; what was looked at came along as an ancestor,
        // unless it was rewritten just then, which the next look finds.
        peel(&self.repo(), id)
    }
}

#[async_trait]
impl Mirror for GixMirror {
    async fn look(&self, revision: &str) -> Result<Option<CommitId>, Error> {
        let revision = Revision::parse(revision)?;
        if let Revision::Commit(commit) = revision {
            return Ok(Some(commit));
        }
        let limit = self.inner.limits.look + GRACE;
        self.run("look at", limit, move |inner, _| {
            let repo = inner.repo();
            let found = inner.server().look(&repo, &revision)?;
            Ok(found.map(|(_, id)| walk::commit_id(&id)))
        })
        .await
    }

    async fn advance(&self, revisions: &[String]) -> Result<BTreeMap<String, Option<CommitId>>, Error> {
        let parsed: Vec<(String, Revision)> = revisions
            .iter()
            .map(|text| Ok((text.clone(), Revision::parse(text)?)))
            .collect::<Result<_, Error>>()?;
        let _one = self.inner.fetching.lock().await;
        let limit = self.inner.limits.fetch + GRACE;
        self.run("fetch", limit, move |inner, interrupt| inner.advance(parsed, interrupt)).await
    }

    async fn fetch(&self, revision: &str) -> Result<CommitId, Error> {
        let parsed = Revision::parse(revision)?;
        let text = revision.to_owned();
        let _one = self.inner.fetching.lock().await;
        let limit = self.inner.limits.fetch + GRACE;
        self.run("fetch", limit, move |inner, interrupt| inner.fetch(&parsed, &text, interrupt)).await
    }

    async fn meta(&self, commit: &CommitId) -> Result<CommitMeta, Error> {
        let commit = commit.clone();
        self.run("read commit of", READ_LIMIT, move |inner, _| walk::meta(&inner.repo(), &commit)).await
    }

    async fn is_ancestor(&self, old: &CommitId, new: &CommitId) -> Result<bool, Error> {
        let (old, new) = (old.clone(), new.clone());
        self.run("walk history of", READ_LIMIT, move |inner, _| walk::is_ancestor(&inner.repo(), &old, &new))
            .await
    }

    async fn changed_paths(&self, old: &CommitId, new: &CommitId) -> Result<Vec<String>, Error> {
        let (old, new) = (old.clone(), new.clone());
        self.run("compare commits of", READ_LIMIT, move |inner, _| {
            walk::changed_paths(&inner.repo(), &old, &new)
        })
        .await
    }

    async fn read_tree(&self, commit: &CommitId, prefix: &str) -> Result<Tree, Error> {
        let (commit, prefix) = (commit.clone(), prefix.trim_matches('/').to_owned());
        self.run("read a tree of", READ_LIMIT, move |inner, _| {
            walk::read_tree(&inner.repo(), &commit, &prefix)
        })
        .await
    }

    async fn oid_at(&self, commit: &CommitId, path: &str) -> Result<Option<String>, Error> {
        let (commit, path) = (commit.clone(), path.to_owned());
        self.run("read a tree of", READ_LIMIT, move |inner, _| {
            let found = walk::entry_at(&inner.repo(), &commit, &path)?;
            Ok(found.map(|(_, id)| id.to_hex().to_string()))
        })
        .await
    }
}
