//! What is due becomes effects, each made from the state as it is now.

use super::debt::{Debt, Effect, Previous};
use super::step::Hub;
use crate::source::Track;
use crate::time::At;
use alloc::collections::BTreeSet;

impl Hub {
    /// Turns due debts into effects; those that became void are dropped.
    pub(super) fn ask(&mut self, at: At) {
        if core::mem::take(&mut self.refollow) {
            let sources = self.durable.sources.sources.values().map(|source| source.track.clone());
            let wanted: BTreeSet<Track> =
                sources.chain(self.users.keys().map(|variant| variant.track.clone())).collect();
            if wanted != self.followed {
                self.followed.clone_from(&wanted);
                self.out.effects.push(Effect::Follow(wanted));
            }
        }
        for debt in self.book.due(at) {
            match self.effect(&debt) {
                Some(effect) => self.out.effects.push(effect),
                None => self.book.settle(&debt),
            }
        }
    }

    fn effect(&self, debt: &Debt) -> Option<Effect> {
        match debt {
            Debt::Account(account) => {
                let joined = self.durable.clusters.by_account(account);
                let user_key = joined.map(|(_, _, enrolment)| enrolment.user_key.clone());
                Some(Effect::SetAccount { account: account.clone(), user_key })
            }
            Debt::Read(name) => {
                let source = self.durable.sources.sources.get(name)?;
                let head = self.durable.sources.head(&source.track)?;
                (self.read_at.get(name) != Some(&head.commit)).then(|| Effect::Read {
                    source: name.clone(),
                    track: source.track.clone(),
                    path: source.path.clone(),
                    commit: head.commit.clone(),
                    cause: head.index,
                    trace: head.trace.clone(),
                })
            }
            Debt::Render(variant) => {
                let head = self.durable.sources.head(&variant.track)?;
                self.users.get(variant)?;
                if self.rendered_at.get(variant) == Some(&head.commit) {
                    return None;
                }
                let bundle = self.durable.planner.bundles.get(variant);
                let failed = self.durable.planner.failures.contains_key(variant);
                let previous = bundle.filter(|_| !failed).map(|bundle| Previous {
                    commit: bundle.commit.clone(),
                    digest: bundle.digest,
                    inputs: bundle.inputs.clone(),
                });
                Some(Effect::Render {
                    variant: variant.clone(),
                    commit: head.commit.clone(),
                    previous,
                    trace: head.trace.clone(),
                })
            }
            Debt::Publish(name) => {
                let enrolment = self.durable.clusters.clusters.get(name)?.enrolment.as_ref()?;
                let desired = self.durable.planner.fleet.get(name).filter(|desired| desired.raised > 0)?;
                let epoch = desired.index.mark.epoch;
                let grant = self.durable.epochs.grant.clone().filter(|grant| grant.epoch == epoch);
                Some(Effect::Publish {
                    adopted: grant.is_some() && !desired.unadopted,
                    grant,
                    cluster: name.clone(),
                    account: enrolment.account.clone(),
                    box_key: enrolment.box_key.clone(),
                    index: desired.index.clone(),
                })
            }
        }
    }
}
