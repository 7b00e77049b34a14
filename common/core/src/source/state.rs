//! What is known of sources, and how facts change it.

use crate::event::{HubEvent, HubFact};
use crate::id::{CommitId, SourceName};
use crate::time::At;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A repository at a revision: what a poll looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Track {
    /// URL of the repository, without credentials.
    pub url: String,
    /// Branch, tag, commit, or `HEAD`.
    pub revision: String,
}

impl Track {
    /// Whether two URLs name the same repository: a trailing `/` or `.git` makes no difference.
    pub fn same_repository(&self, url: &str) -> bool {
        normal(&self.url) == normal(url)
    }
}

fn normal(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    url.strip_suffix(".git").unwrap_or(url)
}

impl fmt::Display for Track {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.url, self.revision)
    }
}

/// One declared source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Repository and revision.
    pub track: Track,
    /// Directory in the tree, empty for the root.
    pub path: String,
}

/// The commit at which a revision stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The commit.
    pub commit: CommitId,
    /// Log index of the event that says so.
    pub index: u64,
    /// Author as Git names them.
    pub author: String,
    /// First line of its message.
    pub subject: String,
    /// When the hub saw it.
    pub seen_at: At,
    /// Trace of the commit.
    pub trace: Option<String>,
}

/// What is known of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::module_name_repetitions, reason = "a track and what is known of it stand side by side")]
pub struct TrackState {
    /// The last accepted head.
    pub head: Option<Head>,
    /// Where a rewritten history points; set while parked.
    pub parked: Option<CommitId>,
}

/// Every source and every revision that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Declared sources.
    pub sources: BTreeMap<SourceName, Source>,
    /// Revisions, those of sources and those that apps name.
    pub tracks: BTreeMap<Track, TrackState>,
}

impl State {
    /// The accepted head of a revision.
    pub fn head(&self, track: &Track) -> Option<&Head> {
        self.tracks.get(track)?.head.as_ref()
    }

    /// The declared source's spelling of a repository, if any source follows it.
    pub fn repository(&self, url: &str) -> Option<&str> {
        self.sources.values().find(|source| source.track.same_repository(url)).map(|s| s.track.url.as_str())
    }
}

/// Applies one fact; facts of other machines change nothing.
pub fn evolve(state: &mut State, index: u64, event: &HubEvent) {
    match &event.fact {
        HubFact::SourceAdded { source, track, path } => {
            state.sources.insert(source.clone(), Source { track: track.clone(), path: path.clone() });
        }
        HubFact::SourceRemoved { source } => {
            state.sources.remove(source);
            // A repository that no source follows any more is unknown again.
            let followed =
                |track: &Track| state.sources.values().any(|s| s.track.same_repository(&track.url));
            let gone: Vec<Track> = state.tracks.keys().filter(|track| !followed(track)).cloned().collect();
            for track in gone {
                state.tracks.remove(&track);
            }
        }
        HubFact::CommitSeen { track, also, author, subject, .. } => {
            let Some(commit) = event.context.commit.clone() else { return };
            let (author, subject) = (author.clone(), subject.clone());
            let head = Head {
                commit,
                index,
                author,
                subject,
                seen_at: event.context.at,
                trace: event.context.trace.clone(),
            };
            for revision in also.iter().chain([&track.revision]) {
                let moved = Track { url: track.url.clone(), revision: revision.clone() };
                state.tracks.insert(moved, TrackState { head: Some(head.clone()), parked: None });
            }
        }
        HubFact::HistoryRewritten { track, new, .. } => {
            state.tracks.entry(track.clone()).or_default().parked = Some(new.clone());
        }
        HubFact::SourceAllowed { track, commit } => {
            let entry = state.tracks.entry(track.clone()).or_default();
            let author = alloc::format!("{}", event.context.actor);
            entry.head = Some(Head {
                commit: commit.clone(),
                index,
                author,
                subject: String::new(),
                seen_at: event.context.at,
                trace: event.context.trace.clone(),
            });
            entry.parked = None;
        }
        _ => {}
    }
}
