//! What agents send: joining, events, heartbeats.

use super::input::{Append, Foreign, Reply};
use super::step::Hub;
use crate::cluster::{self, Batch, Chain, Ingested, JoinRequest, Vitals};
use crate::desired::Mark;
use crate::event::{Actor, AgentEvent, Context, HubEvent, HubFact};
use crate::id::{AccountKey, ClusterName};
use crate::time::{At, Span};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// One refusal per account is recorded in this time; the rest are only answered, so that a flood cannot fill the log.
const REFUSAL_EVERY: Span = Span::secs(10);

/// For so long after a refusal status shows it: an agent that is refused tries again at least every half minute.
const REFUSAL_SHOWN: Span = Span::secs(120);

impl Hub {
    pub(super) fn join(&mut self, token: u64, request: &JoinRequest, at: At) {
        let reply = match cluster::join(&self.durable.clusters, request, at) {
            Ok((cluster, event)) => {
                if let Some(event) = event {
                    self.record(event);
                }
                self.hear(&cluster, at);
                let known = self.durable.clusters.clusters.get(&cluster);
                let enrolment = known.and_then(|known| known.enrolment.as_ref());
                let account = enrolment.map_or(&request.account, |enrolment| &enrolment.account).clone();
                Reply::Joined { cluster, account }
            }
            Err((reason, event)) => {
                self.record(*event);
                Reply::JoinRefused(reason)
            }
        };
        self.out.replies.push((token, reply));
    }

    pub(super) fn batch(
        &mut self,
        token: u64,
        account: &AccountKey,
        batch: Batch,
        facts: Vec<Option<AgentEvent>>,
        at: At,
    ) {
        let Some((name, ..)) = self.durable.clusters.by_account(account) else {
            let reason = self.durable.clusters.stranger(account);
            self.out.replies.push((token, Reply::Refused { reason: reason.to_string() }));
            return;
        };
        let name = name.clone();
        if let Some(proof) = &batch.proof {
            self.shown(&name, proof, at);
            if let Some(behind) = self.read_only() {
                let reason = alloc::format!("the hub is read-only, its log is too old: {behind}");
                self.out.replies.push((token, Reply::Refused { reason }));
                return;
            }
        }
        let Some((_, _, enrolment)) = self.durable.clusters.by_account(account) else { return };
        match cluster::ingest(enrolment, &batch) {
            Ingested::Forged { reason, seq, forked } => {
                self.refuse_events(account, reason, batch.incarnation, seq, at);
                let reason = reason.to_string();
                let reply = if forked { Reply::Forked { reason } } else { Reply::Refused { reason } };
                self.out.replies.push((token, reply));
            }
            Ingested::Gap { chain } => {
                self.hear(&name, at);
                self.out.replies.push((token, Reply::Gap { chain }));
            }
            Ingested::Accepted { chain, from } => {
                self.hear(&name, at);
                self.heard_holding(&name, batch.vitals.held);
                let accepted = u64::try_from(batch.links.len() - from).unwrap_or(u64::MAX);
                let waiting = batch.vitals.waiting.saturating_sub(accepted);
                self.vitals.insert(name.clone(), Vitals { waiting, ..batch.vitals });
                let silent = batch.links.is_empty();
                for (link, event) in batch.links.into_iter().zip(facts).skip(from) {
                    let index = self.durable.index + 1;
                    let place = Chain { incarnation: batch.incarnation, seq: link.seq, hash: link.hash };
                    let appended_at = self.out.appended_at;
                    self.durable.agent_event(index, appended_at, account, place, event.as_ref());
                    let cluster = name.clone();
                    self.out.appends.push(Append::Foreign(Foreign { cluster, link, event }));
                }
                let desired = self.durable.planner.fleet.get(&name);
                let mark = desired.map(|desired| desired.index.mark).unwrap_or_default();
                if desired.is_some_and(|desired| !desired.withdrawn.is_empty()) {
                    self.dirty(name.clone());
                }
                if silent {
                    self.let_go(&name, batch.vitals, at);
                }
                self.out.replies.push((token, Reply::Receipt { chain, mark }));
            }
        }
    }

    /// Removes a cluster that is emptied once its agent says that nothing of it is on the way: it holds the empty index,
    /// and has a receipt for each of its events. Its account ends with it, and what came later would be lost.
    fn let_go(&mut self, name: &ClusterName, vitals: Vitals, at: At) {
        let Some(cluster) = self.durable.clusters.clusters.get(name).filter(|cluster| cluster.leaving) else {
            return;
        };
        let index = self.durable.planner.fleet.get(name).map(|desired| &desired.index);
        let empty = index.is_none_or(|index| index.entries.is_empty() && index.mark <= vitals.held);
        if empty && vitals.waiting == 0 {
            let account = cluster.enrolment.as_ref().map(|enrolment| enrolment.account.clone());
            let context = Context::new(Actor::Hub, at).cluster(name);
            self.record(HubEvent { context, fact: HubFact::ClusterRemoved { account } });
        }
    }

    /// A cluster says which index it holds. If that is not newer than the log, its index may change in this run.
    fn heard_holding(&mut self, name: &ClusterName, held: Mark) {
        let known =
            self.durable.planner.fleet.get(name).map(|desired| desired.index.mark).unwrap_or_default();
        if held <= known && self.unheard.remove(name) {
            self.dirty(name.clone());
        }
    }

    /// Why events of an account were refused lately, if they were.
    pub fn refused_events(&self, account: &AccountKey, at: At) -> Option<&str> {
        let (_, last, why) = self.refusals.get(account)?;
        (at.since(*last) < REFUSAL_SHOWN).then_some(why)
    }

    pub(super) fn forged(
        &mut self,
        token: u64,
        account: &AccountKey,
        reason: String,
        incarnation: u64,
        seq: u64,
        at: At,
    ) {
        self.refuse_events(account, &reason, incarnation, seq, at);
        self.out.replies.push((token, Reply::Refused { reason }));
    }

    /// Remembers that events were refused, and records it.
    fn refuse_events(&mut self, account: &AccountKey, why: &str, incarnation: u64, seq: u64, at: At) {
        let recorded = self.refusals.get(account).map(|(recorded, ..)| *recorded);
        let recent = recorded.filter(|recorded| at.since(*recorded) < REFUSAL_EVERY);
        self.refusals.insert(account.clone(), (recent.unwrap_or(at), at, why.to_string()));
        if recent.is_none() {
            let mut context = Context::new(Actor::Hub, at);
            context.cluster = self.durable.clusters.accounts.get(account).cloned();
            let reason = why.to_string();
            let fact = HubFact::EventRefused { account: account.clone(), reason, incarnation, seq };
            self.record(HubEvent { context, fact });
        }
    }
}
