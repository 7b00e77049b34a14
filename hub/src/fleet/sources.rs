//! Sources as rows: what Git says, what could not be read, and what is parked.

use super::orders::TOKEN_USER;
use super::sight::{CONDITIONS_MAX, condition};
use super::{FleetService, internal};
use crate::api::Error;
use crate::api::service::Answer;
use crate::perform::GitStatus;
use std::collections::BTreeSet;
use std::sync::Arc;
use taffrail_core::catalog::Root;
use taffrail_core::id::{CommitId, SourceName};
use taffrail_core::node::hub::Durable;
use taffrail_core::source::{Source, Track};
use taffrail_proto::v1::{Condition, SourceRow, SourceStatus};

impl FleetService {
    /// Sources, with how each is logged in to.
    pub(super) async fn source_rows(&self) -> Result<Answer<Vec<SourceRow>>, Error> {
        let watch = Arc::clone(&self.watch);
        let mut answer = self.ask(move |hub, _| rows(hub.state(), |url| watch.status(url))).await?;
        let mirrors = Arc::clone(&self.mirrors);
        let work = tokio::task::spawn_blocking(move || {
            for row in &mut answer.value {
                let user = mirrors.user(&row.url);
                let user =
                    user.map_err(|error| internal("reading the login of a repository", error.as_ref()))?;
                login(user.as_deref()).clone_into(&mut row.credential);
            }
            Ok(answer)
        });
        work.await.map_err(|error| internal("reading logins", &error))?
    }
}

/// What kind of login a user name stands for.
fn login(user: Option<&str>) -> &'static str {
    match user {
        None => "none",
        Some(TOKEN_USER) => "token",
        Some(_) => "password",
    }
}

/// Every source.
fn rows(state: &Durable, git: impl Fn(&str) -> GitStatus) -> Vec<SourceRow> {
    state
        .sources
        .sources
        .iter()
        .map(|(name, source)| row(state, name, source, &git(&source.track.url)))
        .collect()
}

fn row(state: &Durable, name: &SourceName, source: &Source, git: &GitStatus) -> SourceRow {
    let head = state.sources.head(&source.track);
    let parked = parked(state, source);
    let conditions = conditions(state, name, source, git);
    let unreadable = state.catalog.unreadable.keys().any(|(of, _)| of == name);
    let status = match () {
        () if !parked.is_empty() => SourceStatus::Parked,
        () if git.error.is_some() => SourceStatus::Unreachable,
        () if unreadable => SourceStatus::Invalid,
        () if head.is_some() => SourceStatus::Followed,
        () => SourceStatus::New,
    };
    let wrong = !matches!(status, SourceStatus::Followed | SourceStatus::New);
    let message = conditions.first().filter(|_| wrong).map(|first| first.message.clone());
    let before = parked.first().and_then(|(track, _)| state.sources.head(track));
    SourceRow {
        name: name.to_string(),
        url: source.track.url.clone(),
        path: source.path.clone(),
        revision: source.track.revision.clone(),
        status: status as i32,
        head_commit: head.map(|head| head.commit.to_string()).unwrap_or_default(),
        head_subject: head.map(|head| head.subject.clone()).unwrap_or_default(),
        looked_at_ms: git.ok_at.map_or(0, |at| at.0),
        state_index: state.index,
        apps: u32::try_from(apps(state, name)).unwrap_or(u32::MAX),
        credential: String::new(),
        message: message.unwrap_or_default(),
        conditions,
        parked_commit: before.map(|head| head.commit.to_string()).unwrap_or_default(),
    }
}

/// Revisions of the source's repository whose history was rewritten, with where they point.
fn parked<'a>(state: &'a Durable, source: &Source) -> Vec<(&'a Track, &'a CommitId)> {
    let tracks = state.sources.tracks.iter();
    let of_source = tracks.filter(|(track, _)| track.same_repository(&source.track.url));
    of_source.filter_map(|(track, known)| Some((track, known.parked.as_ref()?))).collect()
}

fn apps(state: &Durable, name: &SourceName) -> usize {
    let roots = state.catalog.roots.iter().filter(|((of, _), _)| of == name);
    let rests = roots.clone().filter(|(_, listed)| listed.listing.rest).count();
    let names: BTreeSet<_> =
        roots.flat_map(|(_, listed)| listed.listing.apps.iter().map(|app| &app.name)).collect();
    names.len() + rests
}

/// The gravest first: it becomes the message of the row.
fn conditions(state: &Durable, name: &SourceName, source: &Source, git: &GitStatus) -> Vec<Condition> {
    let mut conditions = Vec::new();
    for (track, commit) in parked(state, source) {
        let held = state.sources.head(track).map_or("nothing", |head| head.commit.short());
        let message = format!(
            "The history of {} was rewritten: {} does not descend from {held}, which stays in force. \
             Next: taffrail source allow {name}",
            track.revision,
            commit.short(),
        );
        conditions.push(condition("HistoryRewritten", message, 0));
    }
    if let Some(error) = &git.error {
        conditions.push(condition("Unreachable", error.clone(), 0));
    }
    let unreadable = state.catalog.unreadable.iter().filter(|((of, _), _)| of == name);
    for ((_, root), (commit, cause)) in unreadable {
        let message = format!(
            "{} cannot be read at {}: {cause} What it declared before stays in force.",
            place(source, root),
            commit.short(),
        );
        conditions.push(condition("CatalogUnreadable", message, 0));
    }
    for ((_, _), listed) in state.catalog.roots.iter().filter(|((of, _), _)| of == name) {
        let notes = listed.listing.notes.iter();
        conditions.extend(notes.map(|note| condition("Note", note.clone(), listed.index)));
    }
    conditions.truncate(CONDITIONS_MAX);
    conditions
}

fn place(source: &Source, root: &Root) -> String {
    let path = match root {
        Root::Cluster(name) => {
            taffrail_core::catalog::resolve::join(&source.path, &format!("clusters/{name}"))
        }
        Root::Directory => source.path.clone(),
    };
    if path.is_empty() { String::from("The repository's own directory") } else { path }
}
