//! What every root declares, and how facts change it.

use super::declared::Declared;
use crate::event::{HubEvent, HubFact};
use crate::id::{ClusterName, CommitId, SourceName};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// A part of a source's tree that declares apps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// `clusters/<name>/`: what its rendering holds belongs to that cluster.
    Cluster(ClusterName),
    /// The source's own directory, where apps of ours lie side by side.
    Directory,
}

/// What one root declares at a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The apps, by name.
    pub apps: Vec<Declared>,
    /// Whether it holds other objects: they form the app `<cluster>-root`.
    pub rest: bool,
    /// What was accepted with a warning or refused, with file and line.
    pub notes: Vec<String>,
}

/// A listing with where it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What is declared.
    pub listing: Listing,
    /// The commit it was read at.
    pub commit: CommitId,
    /// Log index of the event that says so.
    pub index: u64,
}

/// Every root of every source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// By source and root.
    pub roots: BTreeMap<(SourceName, Root), Listed>,
    /// The last commit at which a source's declarations could not be read, and why.
    pub unreadable: BTreeMap<(SourceName, Root), (CommitId, String)>,
}

/// Applies one fact; facts of other machines change nothing.
pub fn evolve(state: &mut State, index: u64, event: &HubEvent) {
    match &event.fact {
        HubFact::CatalogChanged { source, root, listing } => {
            let key = (source.clone(), root.clone());
            state.unreadable.remove(&key);
            match (listing, &event.context.commit) {
                (Some(listing), Some(commit)) => {
                    let listed = Listed { listing: listing.clone(), commit: commit.clone(), index };
                    state.roots.insert(key, listed);
                }
                _ => {
                    state.roots.remove(&key);
                }
            }
        }
        HubFact::CatalogUnreadable { source, root, cause, .. } => {
            if let Some(commit) = &event.context.commit {
                state.unreadable.insert((source.clone(), root.clone()), (commit.clone(), cause.clone()));
            }
        }
        HubFact::SourceRemoved { source } => {
            state.roots.retain(|(of, _), _| of != source);
            state.unreadable.retain(|(of, _), _| of != source);
        }
        _ => {}
    }
}
