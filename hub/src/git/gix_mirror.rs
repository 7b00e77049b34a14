//! Mirrors kept by `gix` in bare repositories.

use std::collections::BTreeMap;
use std::{
    path::Path,
    sync::{
        Arc,
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

/// A bare mirror of one repository.
#[derive(Clone)]
pub struct GixMirror {
    inner: Arc<Inner>,
}

struct Inner {
    repo: ThreadSafeRepository,
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
        let options = gix::open::Options::isolated().open_path_as_is(true).config_overrides([
            // Loopback and intranet servers; the scheme was checked when the URL was read.
            "protocol.allow=always",
        ]);
        let repo = options.open(folder).map_err(walk::broken("open the repository"))?;
        let fetching = tokio::sync::Mutex::new(());
        Ok(GixMirror { inner: Arc::new(Inner { repo, remote, limits, fetching }) })
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

impl Inner {
    fn server(&self) -> Server<'_> {
        Server { remote: &self.remote, limits: self.limits }
    }

    fn advance(
        &self,
        revisions: Vec<(String, Revision)>,
        interrupt: &Arc<AtomicBool>,
    ) -> Result<BTreeMap<String, Option<CommitId>>, Error> {
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
        let ids = self.server().advance(&self.repo.to_thread_local(), &asked, interrupt)?;
        let repo = self.repo.to_thread_local();
        for (text, id) in texts.into_iter().zip(ids) {
            found.insert(text, id.map(|id| peel(&repo, id)).transpose()?);
        }
        Ok(found)
    }

    fn fetch(&self, revision: &Revision, text: &str, interrupt: &Arc<AtomicBool>) -> Result<CommitId, Error> {
        let repo = self.repo.to_thread_local();
        if let Revision::Commit(commit) = revision {
            let id = walk::object_id(commit)?;
            if repo.has_object(id) {
                return peel(&repo, id);
            }
            self.server().fetch(&repo, commit.as_str(), interrupt)?;
            return peel(&self.repo.to_thread_local(), id);
        }
        let missing =
            || Error::NoSuchRevision { url: self.remote.url.to_string(), revision: text.to_owned() };
        let (name, id) = self.server().look(&repo, revision)?.ok_or_else(missing)?;
        if !repo.has_object(id) {
            self.server().fetch(&repo, &name, interrupt)?;
        }
        // The reference may have moved between the two requests; what was looked at came along as an ancestor,
        // unless it was rewritten just then, which the next look finds.
        peel(&self.repo.to_thread_local(), id)
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
            let repo = inner.repo.to_thread_local();
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
        self.run("read commit of", READ_LIMIT, move |inner, _| {
            walk::meta(&inner.repo.to_thread_local(), &commit)
        })
        .await
    }

    async fn is_ancestor(&self, old: &CommitId, new: &CommitId) -> Result<bool, Error> {
        let (old, new) = (old.clone(), new.clone());
        self.run("walk history of", READ_LIMIT, move |inner, _| {
            walk::is_ancestor(&inner.repo.to_thread_local(), &old, &new)
        })
        .await
    }

    async fn changed_paths(&self, old: &CommitId, new: &CommitId) -> Result<Vec<String>, Error> {
        let (old, new) = (old.clone(), new.clone());
        self.run("compare commits of", READ_LIMIT, move |inner, _| {
            walk::changed_paths(&inner.repo.to_thread_local(), &old, &new)
        })
        .await
    }

    async fn read_tree(&self, commit: &CommitId, prefix: &str) -> Result<Tree, Error> {
        let (commit, prefix) = (commit.clone(), prefix.trim_matches('/').to_owned());
        self.run("read a tree of", READ_LIMIT, move |inner, _| {
            walk::read_tree(&inner.repo.to_thread_local(), &commit, &prefix)
        })
        .await
    }

    async fn oid_at(&self, commit: &CommitId, path: &str) -> Result<Option<String>, Error> {
        let (commit, path) = (commit.clone(), path.to_owned());
        self.run("read a tree of", READ_LIMIT, move |inner, _| {
            let found = walk::entry_at(&inner.repo.to_thread_local(), &commit, &path)?;
            Ok(found.map(|(_, id)| id.to_hex().to_string()))
        })
        .await
    }
}
