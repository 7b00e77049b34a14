//! What every root declares, and how facts change it.

use super::declared::{Declared, Destination};
use crate::event::{HubEvent, HubFact};
use crate::id::{ClusterName, CommitId, SourceName};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;

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
    /// Roots that declare apps for clusters other than their own.
    pub(super) reaching_out: BTreeSet<(SourceName, Root)>,
    /// The last commit at which a source's declarations could not be read, and why.
    pub unreadable: BTreeMap<(SourceName, Root), (CommitId, String)>,
}

impl Listed {
    /// Whether it declares an app for a cluster that is not the root's own.
    fn reaches_out(&self, root: &Root) -> bool {
        self.listing.apps.iter().any(|app| match (&app.destination, root) {
            (Destination::Here, _) => false,
            (Destination::Cluster(name), Root::Cluster(own)) => name != own,
            (Destination::Cluster(_) | Destination::Selector(_), _) => true,
        })
    }
}

impl State {
    /// The roots that may declare apps for a cluster, in order: its own of each source, and those that reach out.
    pub fn reaching<'a>(
        &'a self,
        cluster: &ClusterName,
    ) -> impl Iterator<Item = (&'a (SourceName, Root), &'a Listed)> + use<'a> {
        let own = Root::Cluster(cluster.clone());
        let mut keys: BTreeSet<&(SourceName, Root)> = self.reaching_out.iter().collect();
        let mut next = self.roots.keys().next();
        while let Some((source, _)) = next {
            keys.extend(self.roots.get_key_value(&(source.clone(), own.clone())).map(|(key, _)| key));
            let after = (Bound::Excluded((source.clone(), Root::Directory)), Bound::Unbounded);
            next = self.roots.range(after).map(|(key, _)| key).next();
        }
        keys.into_iter().filter_map(|key| Some((key, self.roots.get(key)?)))
    }
}

/// Applies one fact; facts of other machines change nothing.
pub fn evolve(state: &mut State, index: u64, event: &HubEvent) {
    match &event.fact {
        HubFact::CatalogChanged { source, root, listing } => {
            let key = (source.clone(), root.clone());
            state.unreadable.remove(&key);
            state.roots.remove(&key);
            state.reaching_out.remove(&key);
            if let (Some(listing), Some(commit)) = (listing, &event.context.commit) {
                let listed = Listed { listing: listing.clone(), commit: commit.clone(), index };
                if listed.reaches_out(&key.1) {
                    state.reaching_out.insert(key.clone());
                }
                state.roots.insert(key, listed);
            }
        }
        HubFact::CatalogUnreadable { source, root, cause, .. } => {
            if let Some(commit) = &event.context.commit {
                state.unreadable.insert((source.clone(), root.clone()), (commit.clone(), cause.clone()));
            }
        }
        HubFact::SourceRemoved { source } => {
            state.roots.retain(|(of, _), _| of != source);
            state.reaching_out.retain(|(of, _)| of != source);
            state.unreadable.retain(|(of, _), _| of != source);
        }
        _ => {}
    }
}
