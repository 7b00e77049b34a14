//! What may happen to sources.

use super::state::{State, Track, TrackState};
use crate::event::{Actor, Context, HubEvent, HubFact};
use crate::id::{CommitId, SourceName};
use crate::time::At;
use alloc::string::String;
use alloc::vec::Vec;

/// Longest subject line that is recorded, in characters.
pub const SUBJECT_MAX: usize = 200;

/// A person's order about a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Follow a repository.
    Add {
        /// Its name.
        source: SourceName,
        /// Repository and revision.
        track: Track,
        /// Directory in the tree.
        path: String,
    },
    /// Accept the rewritten history of every revision of the source's repository.
    Allow(SourceName),
    /// Stop following.
    Remove(SourceName),
}

/// Why an order about a source is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The name is taken by something else.
    #[error("source {source_name} exists and follows {track}")]
    Exists {
        /// The name.
        source_name: SourceName,
        /// What it follows.
        track: Track,
    },
    /// There is no source of this name.
    #[error("there is no source {0}")]
    Unknown(SourceName),
    /// Nothing is parked.
    #[error("source {0} is not parked: its history was not rewritten")]
    NotParked(SourceName),
}

/// Decides a person's order. Adding what is there already changes nothing.
///
/// # Errors
/// [`Rejected`] with the reason; the state is unchanged then.
pub fn decide(state: &State, command: &Command, actor: &Actor, at: At) -> Result<Vec<HubEvent>, Rejected> {
    let event = |fact| HubEvent { context: Context::new(actor.clone(), at), fact };
    match command {
        Command::Add { source, track, path } => match state.sources.get(source) {
            Some(known) if known.track == *track && known.path == *path => Ok(Vec::new()),
            Some(known) => Err(Rejected::Exists { source_name: source.clone(), track: known.track.clone() }),
            None => Ok(alloc::vec![event(HubFact::SourceAdded {
                source: source.clone(),
                track: track.clone(),
                path: path.clone(),
            })]),
        },
        Command::Remove(source) => {
            state.sources.get(source).ok_or_else(|| Rejected::Unknown(source.clone()))?;
            Ok(alloc::vec![event(HubFact::SourceRemoved { source: source.clone() })])
        }
        Command::Allow(source) => {
            let known = state.sources.get(source).ok_or_else(|| Rejected::Unknown(source.clone()))?;
            let parked = state.tracks.iter().filter(|(track, _)| track.same_repository(&known.track.url));
            let events: Vec<_> = parked
                .filter_map(|(track, track_state)| Some((track, track_state.parked.clone()?)))
                .map(|(track, commit)| HubEvent {
                    context: Context::new(actor.clone(), at).commit(&commit),
                    fact: HubFact::SourceAllowed { track: track.clone(), commit },
                })
                .collect();
            if events.is_empty() { Err(Rejected::NotParked(source.clone())) } else { Ok(events) }
        }
    }
}

/// What a look at a repository found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Repository and revision.
    pub track: Track,
    /// Other revisions of the repository with the same accepted head and the same commit now.
    pub also: Vec<String>,
    /// Where it points.
    pub commit: CommitId,
    /// The accepted head at the time of the look.
    pub head: Option<CommitId>,
    /// Whether that commit descends from that head (`true` when there is none).
    pub descends: bool,
    /// Author as Git names them.
    pub author: String,
    /// First line of the message.
    pub subject: String,
    /// The committer's time.
    pub committed_at: At,
    /// Trace that the look belongs to.
    pub trace: Option<String>,
}

/// Decides what a sighting means. Seeing the same head again means nothing, and neither does a look whose accepted head is
/// no longer the one in force (a person allowed another meanwhile): the next look will tell.
pub fn sight(state: &State, sighting: &Sighting, at: At) -> Option<HubEvent> {
    let known = state.tracks.get(&sighting.track);
    let head = known.and_then(|track| track.head.as_ref());
    let parked = known.and_then(|track| track.parked.as_ref());
    if head.map(|head| &head.commit) != sighting.head.as_ref()
        || head.is_some_and(|head| head.commit == sighting.commit && parked.is_none())
        || parked == Some(&sighting.commit)
    {
        return None;
    }
    // Another revision may have moved or been parked since it was looked at; then it is seen again by itself.
    let alike = |revision: &&String| {
        let other = Track { url: sighting.track.url.clone(), revision: (*revision).clone() };
        let other = state.tracks.get(&other);
        let commit = |track: Option<&TrackState>| Some(track?.head.as_ref()?.commit.clone());
        commit(other) == commit(known) && other.and_then(|track| track.parked.as_ref()) == parked
    };
    let context = Context::new(Actor::Author(sighting.author.clone()), at)
        .commit(&sighting.commit)
        .trace(sighting.trace.clone());
    let fact = match head {
        Some(head) if !sighting.descends => HubFact::HistoryRewritten {
            track: sighting.track.clone(),
            old: head.commit.clone(),
            new: sighting.commit.clone(),
        },
        _ => HubFact::CommitSeen {
            track: sighting.track.clone(),
            also: sighting.also.iter().filter(|revision| alike(revision)).cloned().collect(),
            previous: head.map(|head| head.commit.clone()),
            author: sighting.author.clone(),
            subject: sighting.subject.chars().take(SUBJECT_MAX).collect(),
            committed_at: sighting.committed_at,
        },
    };
    Some(HubEvent { context, fact })
}
