//! What a reading of a source's tree means.

use super::state::{Listing, Root, State};
use crate::event::{Actor, Context, HubEvent, HubFact};
use crate::id::{CommitId, SourceName};
use crate::time::At;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// Why a root could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// File in the tree, if one is to blame.
    pub file: Option<String>,
    /// Line in that file, counted from 1.
    pub line: Option<u32>,
    /// What is wrong.
    pub cause: String,
}

/// Every root that the tree of a source holds at a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The source.
    pub source: SourceName,
    /// The commit.
    pub commit: CommitId,
    /// What each root declares, or why that could not be read.
    pub roots: BTreeMap<Root, Result<Listing, Unreadable>>,
    /// Log index of the commit's event.
    pub cause: Option<u64>,
    /// Trace of the commit.
    pub trace: Option<String>,
}

/// Decides what changed. A root that could not be read keeps what it declared; a tree that declares nothing at all,
/// after one that did, is taken for a mistake and changes nothing either.
pub fn read(state: &State, reading: &Reading, at: At) -> Vec<HubEvent> {
    let of_source = |(source, _): &&(SourceName, Root)| *source == reading.source;
    let context = || {
        let mut context = Context::new(Actor::Hub, at).commit(&reading.commit).cause(reading.cause);
        context.trace.clone_from(&reading.trace);
        context
    };
    let event = |root: &Root, fact| {
        let mut context = context();
        if let Root::Cluster(name) = root {
            context.cluster = Some(name.clone());
        }
        HubEvent { context, fact }
    };
    let unreadable = |root: &Root, why: &Unreadable| {
        let known = state.unreadable.get(&(reading.source.clone(), root.clone()));
        if known.is_some_and(|(commit, cause)| *commit == reading.commit && *cause == why.cause) {
            return None;
        }
        let fact = HubFact::CatalogUnreadable {
            source: reading.source.clone(),
            root: root.clone(),
            file: why.file.clone(),
            line: why.line,
            cause: why.cause.clone(),
        };
        Some(event(root, fact))
    };
    let declared = |listing: &Listing| !listing.apps.is_empty() || listing.rest;
    let anything = reading.roots.values().any(|root| root.as_ref().map_or(true, declared));
    let before: Vec<&Root> = state.roots.keys().filter(of_source).map(|(_, root)| root).collect();
    let declared_before =
        state.roots.iter().any(|((source, _), known)| *source == reading.source && declared(&known.listing));
    if !anything && declared_before {
        let why = Unreadable {
            file: None,
            line: None,
            cause: String::from("the tree declares no app any more; every app stays as it is"),
        };
        return unreadable(before[0], &why).into_iter().collect();
    }
    let mut events = Vec::new();
    for (root, listing) in &reading.roots {
        let key = (reading.source.clone(), root.clone());
        match listing {
            Err(why) => events.extend(unreadable(root, why)),
            Ok(listing) => {
                let same = state.roots.get(&key).is_some_and(|known| known.listing == *listing);
                if !same || state.unreadable.contains_key(&key) {
                    let (source, root) = key;
                    let listing = Some(listing.clone());
                    events
                        .push(event(&root, HubFact::CatalogChanged { source, root: root.clone(), listing }));
                }
            }
        }
    }
    let unreadable = state.unreadable.keys().filter(of_source).map(|(_, root)| root);
    let known: BTreeSet<&Root> = before.into_iter().chain(unreadable).collect();
    for root in known.into_iter().filter(|root| !reading.roots.contains_key(root)) {
        let source = reading.source.clone();
        events.push(event(root, HubFact::CatalogChanged { source, root: root.clone(), listing: None }));
    }
    events
}
