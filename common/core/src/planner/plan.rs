//! The difference between what Git wants on a cluster and what its index says.

use super::state::{Bundle, Desired, State};
use crate::catalog::Placement;
use crate::desired::{Change, Entry, Mark, Policy, Withdrawal};
use crate::id::AppId;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What is known of the cluster apart from Git.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// It is part of the fleet.
    Stays,
    /// It is being emptied: everything is withdrawn with its objects.
    Leaves,
}

/// Plans the index of one cluster.
///
/// `placements` is what Git wants, `unplaced` are apps that Git names and that cannot be placed now: they keep their
/// entry. The result is empty when the index says all of it already.
pub fn plan(
    state: &State,
    desired: &Desired,
    placements: &BTreeMap<AppId, Placement>,
    unplaced: &BTreeMap<AppId, String>,
    stay: Stay,
    mark: Mark,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for (app, placement) in placements.iter().filter(|_| stay == Stay::Stays) {
        let held = desired.index.entries.get(app);
        let Some(bundle) = state.bundles.get(&placement.variant) else { continue };
        if let Some((entry, reason)) = wanted(desired, app, placement, bundle, held, mark) {
            changes.push(Change { app: app.clone(), entry: Some(entry), reason });
        }
    }
    for (app, entry) in &desired.index.entries {
        let wanted = stay == Stay::Stays && (placements.contains_key(app) || unplaced.contains_key(app));
        let again = || changes.iter().any(|change| change.app == *app);
        if desired.withdrawn.contains(app) && entry.withdrawn.is_some() && !again() {
            let reason = String::from("its removal was confirmed");
            changes.push(Change { app: app.clone(), entry: None, reason });
        } else if !wanted {
            changes.extend(withdraw(app, entry, stay, mark));
        }
    }
    changes
}

fn wanted(
    desired: &Desired,
    app: &AppId,
    placement: &Placement,
    bundle: &Bundle,
    held: Option<&Entry>,
    mark: Mark,
) -> Option<(Entry, String)> {
    let requested = desired.requested.contains(app);
    let approved = desired.approved.get(app).copied();
    let deliver = placement.sync.automated || requested;
    let held = held.filter(|held| held.withdrawn.is_none());
    let (digest, sealed, commit, trace) = match held {
        Some(held) if !deliver || held.digest == bundle.digest => {
            (held.digest, held.sealed, held.commit.clone(), held.trace.clone())
        }
        None if !deliver => return None,
        _ => (bundle.digest, bundle.sealed, bundle.commit.clone(), bundle.trace.clone()),
    };
    let policy = policy(placement);
    // What was taken over from before a restore and is not rendered here has no key to go with a new entry.
    let taken_over = held.is_some_and(|held| held.since.epoch < mark.epoch);
    if taken_over && digest != bundle.digest {
        return None;
    }
    let reason = match held {
        None => format!("first delivery of commit {}", commit.short()),
        Some(held) if held.digest != digest => format!("commit {} changes it", commit.short()),
        Some(held) if held.policy != policy => String::from("its policy changed"),
        Some(held) if held.approved != approved => String::from("its deletions were approved"),
        Some(_) if requested => String::from("a person asked for a sync"),
        // Keys travel with entries of the epoch only: what was taken over and is rendered here gets one.
        Some(_) if taken_over => String::from("it is rendered again since the hub was restored"),
        Some(_) => return None,
    };
    let entry = Entry { since: mark, digest, sealed, commit, policy, approved, withdrawn: None, trace };
    Some((entry, reason))
}

fn policy(placement: &Placement) -> Policy {
    Policy {
        namespace: placement.namespace.clone(),
        create_namespace: placement.sync.create_namespace,
        prune: placement.sync.prune,
        self_heal: placement.sync.self_heal,
        allow_empty: placement.sync.allow_empty,
        max_deletes: placement.max_deletes,
    }
}

fn withdraw(app: &AppId, entry: &Entry, stay: Stay, mark: Mark) -> Option<Change> {
    let (how, reason) = match stay {
        Stay::Leaves => (Withdrawal::Cascade, "the cluster leaves the fleet"),
        Stay::Stays => (Withdrawal::Orphan, "Git declares it no more; its objects stay"),
    };
    if entry.withdrawn == Some(how) {
        return None;
    }
    let entry = Entry { since: mark, withdrawn: Some(how), ..entry.clone() };
    Some(Change { app: app.clone(), entry: Some(entry), reason: String::from(reason) })
}
