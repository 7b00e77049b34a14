//! Silence: who was heard when, and who is called silent.

use super::step::Hub;
use crate::event::{Actor, Context, HubEvent, HubFact};
use crate::id::ClusterName;
use crate::time::At;

impl Hub {
    /// Notes that a cluster was heard.
    pub(super) fn hear(&mut self, name: &ClusterName, at: At) {
        if self.heard.insert(name.clone(), at).is_none() {
            self.deadlines.insert((at.plus(self.settings.lease), name.clone()));
        }
        let silent = self.durable.clusters.clusters.get(name).and_then(|cluster| cluster.silent_since);
        if let Some(since) = silent {
            let context = Context::new(Actor::Hub, at).cluster(name);
            let fact = HubFact::ClusterBack { silent_ms: at.since(since).0 };
            self.record(HubEvent { context, fact });
        }
    }

    /// Calls silent whoever has not been heard of for the lease.
    pub(super) fn wake(&mut self, at: At) {
        while let Some((due, name)) = self.deadlines.first().cloned() {
            if due > at {
                return;
            }
            self.deadlines.remove(&(due, name.clone()));
            let Some(known) = self.durable.clusters.clusters.get(&name) else { continue };
            let heard = self.heard.get(&name).copied().unwrap_or(self.started_at);
            let again = heard.plus(self.settings.lease);
            if again > at {
                self.deadlines.insert((again, name));
                continue;
            }
            if known.enrolment.is_some() && known.silent_since.is_none() {
                let context = Context::new(Actor::Hub, at).cluster(&name);
                self.record(HubEvent { context, fact: HubFact::ClusterSilent { heard_at: heard } });
            }
            self.heard.remove(&name);
        }
    }
}
