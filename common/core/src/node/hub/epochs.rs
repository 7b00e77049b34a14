//! Epochs: when a log is too old, what a cluster shows, and what may change after a restore.

use super::step::Hub;
use crate::catalog::Placement;
use crate::cluster::Proof;
use crate::desired::{Entry, Mark};
use crate::epoch;
use crate::event::{Actor, Context, HubEvent, HubFact};
use crate::id::{AppId, ClusterName};
use crate::source::{Sighting, Track};
use crate::time::At;
use alloc::collections::BTreeMap;
use alloc::string::String;

impl Hub {
    /// Clusters that have not shown yet what they hold, since a new epoch began.
    pub fn unadopted(&self) -> usize {
        self.durable.planner.fleet.values().filter(|desired| desired.unadopted).count()
    }

    /// The offline key was made, or found where it was made before.
    pub(super) fn restore_key(&mut self, key: [u8; 32], at: At) {
        if self.durable.epochs.restore_key.is_none() {
            let fact = HubFact::RestoreKeyMade { key };
            self.record(HubEvent { context: Context::new(Actor::Hub, at), fact });
        }
    }

    /// The epoch of the log at a start, or why the log is too old.
    pub(super) fn epoch_at_start(&self, file: u64) -> Result<u64, epoch::Evidence> {
        let known = self.durable.planner.epoch.max(1);
        epoch::older_than_file(known, file).map_or(Ok(known), Err)
    }

    /// The last index on the bus has this mark.
    pub(super) fn witnessed(&mut self, name: &ClusterName, found: Mark, at: At) {
        let known = self.mark(name);
        if found > known {
            self.fall_behind(Some(name), epoch::Evidence::Bus { found, known }, at);
        }
    }

    pub(super) fn fall_behind(&mut self, name: Option<&ClusterName>, evidence: epoch::Evidence, at: At) {
        let mut context = Context::new(Actor::Hub, at);
        context.cluster = name.cloned();
        self.record(HubEvent { context, fact: HubFact::LogBehind { evidence } });
    }

    fn mark(&self, name: &ClusterName) -> Mark {
        self.durable.planner.fleet.get(name).map(|desired| desired.index.mark).unwrap_or_default()
    }

    /// What a cluster shows: that the log is too old, or what is to be taken over after a restore.
    pub(super) fn shown(&mut self, name: &ClusterName, proof: &Proof, at: At) {
        let Some(enrolment) = self.durable.clusters.clusters.get(name).and_then(|it| it.enrolment.as_ref())
        else {
            return;
        };
        let unadopted = self.durable.planner.fleet.get(name).is_some_and(|desired| desired.unadopted);
        let chain = enrolment.chain;
        if let Some(evidence) = epoch::behind(proof, self.mark(name), &chain, !unadopted) {
            self.fall_behind(Some(name), evidence, at);
            return;
        }
        let of_this_epoch = proof.pending.epoch == self.durable.planner.epoch;
        if unadopted && of_this_epoch && proof.chain.incarnation >= chain.incarnation {
            self.adopt(name, proof, at);
        }
    }

    fn adopt(&mut self, name: &ClusterName, proof: &Proof, at: At) {
        let Some((_, known)) = self.durable.clusters.clusters.get_key_value(name) else { return };
        let Some(enrolment) = &known.enrolment else { return };
        let context = || Context::new(Actor::Hub, at).cluster(name).cause(Some(self.durable.epochs.raised));
        let lost = epoch::lost(&enrolment.chain, &proof.chain);
        let chain = if lost.is_some() { proof.chain } else { enrolment.chain };
        let none = crate::desired::Index::default();
        let index = self.durable.planner.fleet.get(name).map_or(&none, |desired| &desired.index);
        let changes = epoch::adoption(proof.index.as_ref(), index);
        let mark = self.durable.planner.next_mark(name);
        let held = proof.index.as_ref().map(|index| index.mark).unwrap_or_default();
        let adopted =
            HubEvent { context: context(), fact: HubFact::ClusterAdopted { mark, held, changes, chain } };
        let lost = lost
            .map(|(first, last)| HubEvent { context: context(), fact: HubFact::EventsLost { first, last } });
        if let Some(lost) = lost {
            self.record(lost);
        }
        self.record(adopted);
    }

    /// A look at a repository ended: its revision was seen in this run.
    pub(super) fn looked(&mut self, sighting: &Sighting) {
        for revision in sighting.also.iter().chain([&sighting.track.revision]) {
            let track = Track { url: sighting.track.url.clone(), revision: revision.clone() };
            let head = self.durable.sources.head(&track).map(|head| &head.commit);
            if head == sighting.head.as_ref() && self.looked.insert(track) && self.restored() {
                self.every_cluster();
            }
        }
    }

    /// Whether a look at a revision is to be told even if nothing moved: nothing changes after a restore before it was.
    pub fn wants_look(&self, track: &Track) -> bool {
        self.restored() && !self.looked.contains(track)
    }

    /// Whether the epoch in force began with a restore.
    pub(super) fn restored(&self) -> bool {
        self.durable.epochs.grant.is_some()
    }

    /// Takes out of `placements` what a restored hub may not decide yet, with the reason: the log knows an older state of
    /// Git than the clusters, so nothing is delivered, changed or withdrawn before this run has looked at it, read and
    /// rendered it.
    pub(super) fn hold_back(
        &self,
        name: &ClusterName,
        placements: &mut BTreeMap<AppId, Placement>,
    ) -> BTreeMap<AppId, String> {
        if !self.restored() {
            return BTreeMap::new();
        }
        let index = self.durable.planner.fleet.get(name).map(|desired| &desired.index.entries);
        let named = index.into_iter().flat_map(BTreeMap::keys).chain(placements.keys());
        let stale = named.filter(|app| {
            let entry = index.and_then(|entries| entries.get(*app));
            !self.is_fresh(app, entry, placements.get(*app))
        });
        let why = || String::from("the hub was restored and has not read and rendered it again yet");
        let stale: BTreeMap<AppId, String> = stale.map(|app| (app.clone(), why())).collect();
        placements.retain(|app, _| !stale.contains_key(app));
        stale
    }

    fn is_fresh(&self, app: &AppId, entry: Option<&Entry>, placement: Option<&Placement>) -> bool {
        let Some(source) = self.durable.sources.sources.get(&app.source) else {
            // Removed by an order in this epoch, or added by one that the backup does not have.
            return entry.is_some_and(|entry| entry.since.epoch == self.durable.planner.epoch);
        };
        let head = self.fresh_head(&source.track);
        let read = head.is_some() && head == self.read_at.get(&app.source);
        let rendered = placement.is_none_or(|placement| {
            let head = self.fresh_head(&placement.variant.track);
            head.is_some()
                && head == self.rendered_at.get(&placement.variant)
                && !self.durable.planner.failures.contains_key(&placement.variant)
        });
        read && rendered
    }

    /// The head of a revision, if this epoch has seen it and nothing is parked.
    fn fresh_head(&self, track: &Track) -> Option<&crate::id::CommitId> {
        let known = self.durable.sources.tracks.get(track).filter(|known| known.parked.is_none())?;
        let head = known.head.as_ref()?;
        (self.looked.contains(track) || head.index > self.durable.epochs.raised).then_some(&head.commit)
    }
}
