//! What must hold of every state: read by tests and simulations, by nothing that decides.

use crate::cluster;
use crate::desired::{Index, Mark};
use crate::id::{AccountKey, ClusterName, CommitId, SourceName};
use crate::node::hub::{Debt, Durable};
use crate::planner::{self, Variant};
use crate::sync::Instance;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

/// Every object is in the inventory of one instance at most, and what left a bundle is still in its inventory.
///
/// # Errors
/// A sentence that names what is wrong.
pub fn inventories<'a>(instances: impl Iterator<Item = &'a Instance>) -> Result<(), String> {
    let mut owners = BTreeSet::new();
    for instance in instances {
        for key in instance.items.keys() {
            if !owners.insert(key) {
                return Err(format!("{key} is in two inventories"));
            }
        }
    }
    Ok(())
}

/// Names, accounts and enrolments point at each other.
///
/// # Errors
/// A sentence that names what is wrong.
pub fn fleet(state: &cluster::State) -> Result<(), String> {
    for (account, name) in &state.accounts {
        let enrolled = state.clusters.get(name).and_then(|cluster| cluster.enrolment.as_ref());
        if enrolled.is_none_or(|enrolment| enrolment.account != *account) {
            return Err(format!("account {account} points at {name}, which is not enrolled with it"));
        }
        if state.revoked.contains_key(account) {
            return Err(format!("account {account} of {name} is welcome and revoked"));
        }
    }
    for (name, cluster) in &state.clusters {
        let account = cluster.enrolment.as_ref().map(|enrolment| &enrolment.account);
        if account.is_some_and(|account| state.accounts.get(account) != Some(name)) {
            return Err(format!("cluster {name} is enrolled, and its account points elsewhere"));
        }
    }
    Ok(())
}

/// From one state to a later one, no cluster's chain and no cluster's index goes back.
///
/// # Errors
/// A sentence that names what is wrong.
pub fn forward(before: &Durable, after: &Durable) -> Result<(), String> {
    if after.index < before.index || after.appended_at < before.appended_at {
        return Err(format!("the log went back from {} to {}", before.index, after.index));
    }
    for cluster in before.clusters.clusters.values() {
        let Some(old) = &cluster.enrolment else { continue };
        let Some((name, _, new)) = after.clusters.by_account(&old.account) else { continue };
        let place = |chain: cluster::Chain| (chain.incarnation, chain.seq);
        if place(new.chain) < place(old.chain) {
            return Err(format!("the chain of {name} went back"));
        }
        let mark = |state: &Durable| state.planner.fleet.get(name).map(|desired| desired.index.mark);
        if before.planner.fleet.contains_key(name) && mark(after) < mark(before) {
            return Err(format!("the index of {name} went back"));
        }
    }
    Ok(())
}

/// Entries of an index changed no later than the index itself, and what waits for its end is there.
///
/// # Errors
/// A sentence that names what is wrong.
pub fn desired(state: &planner::State) -> Result<(), String> {
    let late = |index: &Index| {
        index.entries.iter().find(|(_, entry)| entry.since > index.mark).map(|(app, _)| app.clone())
    };
    for (name, desired) in &state.fleet {
        if let Some(app) = late(&desired.index) {
            return Err(format!("entry {app} of {name} is newer than its index"));
        }
        if let Some(app) = desired.reports.keys().find(|app| !desired.index.entries.contains_key(app)) {
            return Err(format!("{name} reports {app}, which its index does not name"));
        }
        for app in &desired.withdrawn {
            if desired.index.entries.get(app).is_none_or(|entry| entry.withdrawn.is_none()) {
                return Err(format!("{name} confirmed the removal of {app}, which was not ordered"));
            }
        }
    }
    Ok(())
}

/// What a shell has confirmed of level debts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paid {
    /// Users that may connect, by account; `None` for a revoked account.
    pub accounts: BTreeMap<AccountKey, Option<String>>,
    /// Marks of the indexes that agents can find.
    pub published: BTreeMap<ClusterName, Mark>,
    /// Where declarations were read.
    pub read: BTreeMap<SourceName, CommitId>,
    /// Where variants were rendered.
    pub rendered: BTreeMap<Variant, CommitId>,
}

/// The oracle of what is owed: a full scan of the durable state against what was paid.
pub fn owed(state: &Durable, paid: &Paid) -> BTreeSet<Debt> {
    let mut owed = BTreeSet::new();
    let fleet = &state.clusters;
    let welcome = fleet.accounts.keys().chain(fleet.revoked.keys());
    owed.extend(welcome.filter_map(|account| {
        let user = fleet.by_account(account).map(|(_, _, enrolment)| enrolment.user_key.clone());
        (paid.accounts.get(account) != Some(&user)).then(|| Debt::Account(account.clone()))
    }));
    for (name, cluster) in &fleet.clusters {
        let desired = state.planner.fleet.get(name).filter(|desired| desired.raised > 0);
        if let (Some(_), Some(desired)) = (&cluster.enrolment, desired)
            && paid.published.get(name) != Some(&desired.index.mark)
        {
            owed.insert(Debt::Publish(name.clone()));
        }
        let (placements, _) = state.placements(name, cluster);
        owed.extend(placements.into_values().filter_map(|placement| {
            let head = state.sources.head(&placement.variant.track)?;
            let rendered = paid.rendered.get(&placement.variant) == Some(&head.commit);
            (!rendered).then_some(Debt::Render(placement.variant))
        }));
    }
    owed.extend(state.sources.sources.iter().filter_map(|(name, source)| {
        let head = state.sources.head(&source.track)?;
        (paid.read.get(name) != Some(&head.commit)).then(|| Debt::Read(name.clone()))
    }));
    owed
}
