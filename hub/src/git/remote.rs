//! The only code that talks to a Git server.

use std::{
    any::Any,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use base64::Engine;
use gix::{
    ObjectId, Repository,
    protocol::{
        handshake::Ref,
        transport::client::blocking_io::http::{self, options::FollowRedirects},
    },
    remote::{Direction, fetch::Tags, ref_map},
};
use taffrail_core::id::CommitId;

use super::{
    Error,
    error::{Cause, cut},
    secret::Secret,
    url::{Credentials, Remote, Scheme},
    walk::{broken, commit_id},
};

/// Longest revision name in bytes: Git's own limit on a reference is a path of the file system.
pub const REVISION_BYTES_MAX: usize = 250;

/// Time limits of one repository.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For opening a connection. Default 10 s.
    pub connect: Duration,
    /// For one look. Default 30 s: one small request and answer.
    pub look: Duration,
    /// For one fetch. Default 300 s: the first clone of a large repository.
    pub fetch: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        let secs = Duration::from_secs;
        Limits { connect: secs(10), look: secs(30), fetch: secs(300) }
    }
}

/// What a revision text asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revision {
    /// The default branch.
    Head,
    /// A branch or tag by its short name, or any reference by its full one.
    Name(String),
    /// A commit.
    Commit(CommitId),
}

impl Revision {
    /// Reads a revision as people write it.
    ///
    /// # Errors
    /// [`Error::BadRevision`] for names that Git does not allow.
    pub fn parse(text: &str) -> Result<Revision, Error> {
        if text.is_empty() || text == "HEAD" {
            return Ok(Revision::Head);
        }
        if let Ok(commit) = CommitId::parse(text) {
            return Ok(Revision::Commit(commit));
        }
        let odd = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
        let is_bad = text.len() > REVISION_BYTES_MAX
            || text.starts_with(['-', '/', '.'])
            || text.ends_with(['/', '.'])
            || text.contains("..")
            || text.contains("//")
            || text.contains("@{")
            || text.contains(odd);
        if is_bad {
            return Err(Error::BadRevision { revision: cut(text, 100).to_owned() });
        }
        Ok(Revision::Name(text.to_owned()))
    }

    /// Full reference names in order of preference: a branch wins over a tag of the same name.
    fn candidates(&self) -> Vec<String> {
        match self {
            Revision::Head => vec!["HEAD".to_owned()],
            Revision::Name(name) if name.starts_with("refs/") => vec![name.clone()],
            Revision::Name(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
            Revision::Commit(_) => Vec::new(),
        }
    }
}

/// A server and how to reach it; every call makes its own connection.
pub(super) struct Server<'a> {
    pub(super) remote: &'a Remote,
    pub(super) limits: Limits,
}

impl Server<'_> {
    /// The reference that `revision` names on the server and the object it stands at, tags peeled.
    pub(super) fn look(
        &self,
        repo: &Repository,
        revision: &Revision,
    ) -> Result<Option<(String, ObjectId)>, Error> {
        let candidates = revision.candidates();
        let remote = self.gix_remote(repo, &candidates)?;
        let connection = self.connect(&remote, self.limits.look)?;
        let (map, _) = connection
            .ref_map(gix::progress::Discard, ref_map::Options::default())
            .map_err(|error| self.failed("look at", &error))?;
        Ok(first_of(&candidates, &map.remote_refs))
    }

    /// What each revision names on the server, over one connection; objects that are not here yet are brought.
    pub(super) fn advance(
        &self,
        repo: &Repository,
        revisions: &[Revision],
        interrupt: &Arc<AtomicBool>,
    ) -> Result<Vec<Option<ObjectId>>, Error> {
        let wanted: Vec<Vec<String>> = revisions.iter().map(Revision::candidates).collect();
        let specs: Vec<String> = wanted.iter().flatten().map(|source| kept_as(source)).collect();
        let remote = self.gix_remote(repo, &specs)?;
        let connection = self.connect(&remote, self.limits.fetch)?;
        let prepared = connection
            .prepare_fetch(gix::progress::Discard, ref_map::Options::default())
            .map_err(|error| self.failed("look at", &error))?;
        let refs = &prepared.ref_map().remote_refs;
        let found: Vec<Option<ObjectId>> =
            wanted.iter().map(|candidates| first_of(candidates, refs).map(|(_, id)| id)).collect();
        if found.iter().flatten().any(|id| !repo.has_object(*id)) {
            prepared
                .receive(gix::progress::Discard, interrupt)
                .map_err(|error| self.failed("fetch", &error))?;
        }
        Ok(found)
    }

    /// Brings `source` (a full reference name or an object id) and its history; returns nothing: the caller knows
    /// what to look for.
    pub(super) fn fetch(
        &self,
        repo: &Repository,
        source: &str,
        interrupt: &Arc<AtomicBool>,
    ) -> Result<(), Error> {
        let specs = [kept_as(source)];
        let remote = self.gix_remote(repo, &specs)?;
        let connection = self.connect(&remote, self.limits.fetch)?;
        connection
            .prepare_fetch(gix::progress::Discard, ref_map::Options::default())
            .and_then(|prepared| prepared.receive(gix::progress::Discard, interrupt))
            .map_err(|error| self.failed("fetch", &error))?;
        Ok(())
    }

    fn gix_remote<'r>(&self, repo: &'r Repository, specs: &[String]) -> Result<gix::Remote<'r>, Error> {
        repo.remote_at_without_url_rewrite(self.remote.url.as_str())
            .and_then(|remote| {
                remote
                    .with_fetch_tags(Tags::None)
                    .with_refspecs(specs.iter().map(String::as_str), Direction::Fetch)
            })
            .map_err(broken("prepare the remote"))
    }

    fn connect<'c, 'r>(
        &self,
        remote: &'c gix::Remote<'r>,
        limit: Duration,
    ) -> Result<
        gix::remote::Connection<
            'c,
            'static,
            'r,
            Box<dyn gix::protocol::transport::client::blocking_io::Transport + Send>,
        >,
        Error,
    > {
        let connection = remote.connect(Direction::Fetch).map_err(|error| self.failed("reach", &error))?;
        // Answering "none" keeps credential helpers and prompts of the machine out of it.
        let connection = connection.with_credentials(|_| Ok(None));
        Ok(match self.remote.url.scheme() {
            Scheme::File => connection,
            Scheme::Http | Scheme::Https => connection.with_transport_options(self.http_options(limit)),
        })
    }

    fn http_options(&self, limit: Duration) -> Box<dyn Any> {
        let connect = self.limits.connect;
        let backend = http::reqwest::Options {
            configure_client: Some(Box::new(move |builder| {
                Ok(builder.connect_timeout(connect).timeout(limit))
            })),
            configure_request: None,
        };
        let mut options = http::Options {
            user_agent: Some(concat!("git/2 taffrail/", env!("CARGO_PKG_VERSION")).to_owned()),
            // With credentials no redirect is followed at all: the header would go to wherever the server points.
            follow_redirects: FollowRedirects::Initial,
            backend: Some(Arc::new(Mutex::new(backend))),
            ..http::Options::default()
        };
        if let Some(credentials) = &self.remote.credentials {
            options.follow_redirects = FollowRedirects::None;
            options.extra_headers = vec![format!("Authorization: Basic {}", basic(credentials))];
        }
        Box::new(options)
    }

    fn failed(&self, action: &'static str, error: &gix::Error) -> Error {
        let encoded = self.remote.credentials.as_ref().map(|one| Secret::new(basic(one)));
        let password = self.remote.credentials.as_ref().map(|one| &one.password);
        let secrets: Vec<&Secret> = encoded.iter().chain(password).collect();
        let mut text = String::new();
        for part in error.iter_errors() {
            let part = part.to_string();
            if !text.contains(&part) {
                if !text.is_empty() {
                    text.push_str(": ");
                }
                text.push_str(&part);
            }
        }
        let cause = Cause::text(&text, &secrets);
        let url = self.remote.url.to_string();
        let mentions = |parts: &[&str]| parts.iter().any(|part| cause.mentions(part));
        if error.is_unauthenticated() || mentions(&["status 401", "status 403", "Credentials", "credentials"])
        {
            return Error::Unauthorized { url, source: cause };
        }
        if mentions(&["timed out", "operation timed out"]) {
            let limit = if action == "fetch" { self.limits.fetch } else { self.limits.look };
            return Error::TimedOut { action, url, limit_s: limit.as_secs() };
        }
        Error::Network { action, url, source: cause }
    }
}

/// The refspec under which a reference of the server is kept.
fn kept_as(source: &str) -> String {
    format!("+{source}:refs/taffrail/{}", source.trim_start_matches("refs/"))
}

/// The first of the names that the server has, and the object it stands at.
fn first_of(names: &[String], refs: &[Ref]) -> Option<(String, ObjectId)> {
    let standing = |wanted: &String| {
        refs.iter().find_map(|found| match found {
            Ref::Direct { full_ref_name, object }
            | Ref::Peeled { full_ref_name, object, .. }
            | Ref::Symbolic { full_ref_name, object, .. } => {
                (full_ref_name == wanted.as_str()).then(|| (wanted.clone(), *object))
            }
            Ref::Unborn { .. } => None,
        })
    };
    names.iter().find_map(standing)
}

/// The credentials as the `Basic` scheme sends them.
fn basic(credentials: &Credentials) -> String {
    let pair = format!("{}:{}", credentials.username, credentials.password.expose());
    base64::engine::general_purpose::STANDARD.encode(pair)
}

/// The commit that a fetched object is, tags peeled.
pub(super) fn peel(repo: &Repository, id: ObjectId) -> Result<CommitId, Error> {
    let object = repo.find_object(id).map_err(broken("find fetched object"))?;
    let commit =
        object.peel_to_kind(gix::objs::Kind::Commit).map_err(broken("read fetched object as commit"))?;
    Ok(commit_id(&commit.id))
}
