//! Rest: after the faults everything runs what Git says, nobody owes anything, and the log tells it all.

use crate::git::Declared;
use crate::hub_work::root_name;
use crate::site::Site;
use crate::world::World;
use taffrail_core::event::agent::Phase;
use taffrail_core::health::Health;
use taffrail_core::id::AppId;
use taffrail_core::node::hub::Durable;

impl World {
    /// What still keeps the world from rest.
    pub(crate) fn unrest(&self) -> Option<String> {
        if !self.hub_rests() {
            let debts = self.hub.process.as_ref().map(|process| process.hub.debts());
            return Some(format!("the hub owes {debts:?}"));
        }
        let hub = &self.hub.process.as_ref()?.hub;
        if hub.read_only().is_some() {
            return Some("the hub is read-only".into());
        }
        if hub.unadopted() > 0 {
            return Some(format!("{} clusters are not adopted", hub.unadopted()));
        }
        let state = hub.state();
        if let Some(name) =
            state.clusters.clusters.iter().find(|(_, known)| known.leaving).map(|(name, _)| name)
        {
            return Some(format!("{name} is still leaving"));
        }
        self.sites.iter().find_map(|site| self.site_unrest(site, state))
    }

    fn site_unrest(&self, site: &Site, state: &Durable) -> Option<String> {
        let number = site.number;
        let Some(account) = site.account() else {
            return site.identity.is_some().then(|| format!("cluster {number} has not joined"));
        };
        if !state.clusters.accounts.contains_key(account) {
            return (!self.check.was_let_go(account))
                .then(|| format!("cluster {number} is out, and nobody ordered it"));
        }
        let Some(process) = &site.process else { return Some(format!("agent {number} does not run")) };
        if !process.rests() {
            return Some(format!("agent {number} is busy"));
        }
        if !self.outbox_is_empty(number) {
            return Some(format!("agent {number} has events without a receipt"));
        }
        if process.ledger.outbox.waits() {
            return Some(format!("agent {number} has facts that are not told"));
        }
        if site.journal.as_ref().is_some_and(|journal| self.check.misses(account, journal.incarnation)) {
            return Some(format!("agent {number} has receipts that the log does not know"));
        }
        let wanted = self.wanted(site, state);
        let entries = process.index().map(|index| index.entries.keys().cloned().collect::<Vec<AppId>>());
        for app in entries.unwrap_or_default() {
            if !wanted.iter().any(|declared| declared.name == app.name.as_str()) {
                return Some(format!("the index of cluster {number} still names {app}"));
            }
        }
        wanted.iter().find_map(|declared| self.app_unrest(site, &declared.name))
    }

    /// What Git's head declares for a cluster.
    pub(crate) fn wanted(&self, site: &Site, state: &Durable) -> Vec<Declared> {
        let tree = &self.git.at_head().tree;
        let name = site.account().and_then(|account| state.clusters.accounts.get(account));
        let root = (name == Some(&root_name(site.number))).then(|| tree.roots.get(&site.number)).flatten();
        root.into_iter().flatten().chain(&tree.shared).cloned().collect()
    }

    /// What keeps an app on a cluster from being as Git's head says, and from being known to be so.
    pub(crate) fn app_unrest(&self, site: &Site, name: &str) -> Option<String> {
        let state = self.hub.process.as_ref()?.hub.state();
        let declared = self.wanted(site, state).into_iter().find(|declared| declared.name == name)?;
        let number = site.number;
        let folder = self.git.at_head().tree.folders.get(name)?;
        let app = AppId::parse(&format!("fleet/{name}")).ok()?;
        for (key, object) in &folder.objects {
            match site.api.objects.get(key) {
                None => return Some(format!("{key} is missing on cluster {number}")),
                Some(live) if live.deleting => return Some(format!("{key} is going on cluster {number}")),
                Some(live) if !live.equals(&object.fields) => {
                    return Some(format!(
                        "{key} on cluster {number} is {:?}, Git says {:?}",
                        live.fields, object.fields
                    ));
                }
                Some(live) if live.part_of.as_ref() != Some(&app) => {
                    return Some(format!("{key} on cluster {number} does not carry our label"));
                }
                Some(_) => {}
            }
        }
        let mut kept = false;
        for (key, live) in &site.api.objects {
            if live.applied_by.as_ref() == Some(&app) && !folder.objects.contains_key(key) {
                // After a lost journal the agent may know of it or not, and say so or not.
                kept = true;
                if declared.prune && !live.keep && !live.excused {
                    return Some(format!("{key} left {app} and is still on cluster {number}"));
                }
            }
        }
        let account = site.account()?;
        let cluster = state.clusters.accounts.get(account)?;
        let report = state.planner.fleet.get(cluster).and_then(|desired| desired.reports.get(&app));
        let Some(report) = report else { return Some(format!("nobody reports {app} on cluster {number}")) };
        let status = &report.status;
        let entry = site.process.as_ref()?.index()?.entries.get(&app)?.clone();
        if (status.since, status.digest) != (entry.since, entry.digest) {
            return Some(format!("the report of {app} on cluster {number} is of another entry"));
        }
        let well = status.phase == Phase::Synced || (kept && status.phase == Phase::OutOfSync);
        if !well || status.health != Health::Healthy {
            return Some(format!(
                "{app} on cluster {number} is reported as {:?} {:?}: {}",
                status.phase, status.health, status.message
            ));
        }
        None
    }

    /// The judge's last look: the log tells everything, and becomes the state that the hub has.
    pub(crate) fn last_look(&mut self) {
        let members: Vec<_> = self
            .sites
            .iter()
            .filter_map(|site| Some((site.account()?.clone(), site.journal.as_ref()?.incarnation)))
            .filter(|(account, _)| {
                let state = self.hub.process.as_ref().map(|process| process.hub.state());
                state.is_some_and(|state| state.clusters.accounts.contains_key(account))
            })
            .collect();
        for (account, incarnation) in members {
            self.check.complete(&account, incarnation);
        }
        let Some(state) = self.replayed() else { return };
        let same = self.hub.process.as_ref().is_some_and(|process| *process.hub.state() == state);
        self.check.must(same, || "the log makes another state than the hub has".into());
    }
}
