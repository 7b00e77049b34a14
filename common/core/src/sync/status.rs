//! What is stated of an instance, and when.

use super::state::{Instance, Step};
use crate::event::AgentFact;
use crate::event::agent::{Phase, Status, Trouble};
use crate::time::{At, Span};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Most objects in trouble, or held, that one event names.
const NAMED_MAX: usize = 20;

/// Longest message, in characters.
const MESSAGE_MAX: usize = 400;

/// So many changes of health of one revision within [`BUDGET_SPAN`] are stated at once; further ones are folded for
/// [`FOLD`].
const BUDGET: usize = 4;

/// See [`BUDGET`].
const BUDGET_SPAN: Span = Span::secs(10);

/// How long changes of health are folded together (design, section 9: 2 s).
const FOLD: Span = Span::secs(2);

impl Instance {
    /// The state of this instance in words.
    pub fn status(&self) -> Status {
        let mut troubles: Vec<Trouble> = self.problem_list().take(NAMED_MAX).collect();
        let free = NAMED_MAX - troubles.len();
        let others = self.roster.troubled(self.overdue).filter(|(key, _)| !self.problems.contains_key(*key));
        troubles.extend(others.take(free).map(|(key, judged)| Trouble {
            object: key.clone(),
            cause: judged.cause,
            message: cut(&judged.message),
        }));
        let phase = self.phase();
        Status {
            since: self.entry.since,
            digest: self.entry.digest,
            phase,
            health: self.roster.worst(),
            message: self.message(phase, &troubles),
            troubles,
            objects: u32::try_from(self.items.len()).unwrap_or(u32::MAX),
            held: self.roster.held().iter().take(NAMED_MAX).cloned().collect(),
            flaps: self.flaps,
        }
    }

    fn phase(&self) -> Phase {
        let failed = !self.problems.is_empty();
        match self.step {
            Step::Resting if !self.roster.held().is_empty() && !failed => Phase::Parked,
            Step::Parked => Phase::Parked,
            Step::Withdrawing | Step::Gone => Phase::Withdrawing,
            _ if failed => Phase::Failed,
            Step::Loading | Step::Storing if self.trouble.is_some() => Phase::Failed,
            Step::Loading | Step::Storing | Step::Applying | Step::Settling | Step::Pruning => Phase::Syncing,
            Step::Resting if self.roster.kept() > 0 || self.drifts.any_begun() => Phase::OutOfSync,
            Step::Resting => Phase::Synced,
        }
    }

    fn message(&self, phase: Phase, troubles: &[Trouble]) -> String {
        let (delete, held) = (self.roster.delete().len(), self.roster.held().len());
        let kept = self.roster.kept();
        let first = troubles.first().map(|trouble| format!("{}: {}", trouble.object, trouble.message));
        let text = match (phase, &self.trouble) {
            (Phase::Parked | Phase::Failed | Phase::Syncing, Some(trouble)) => trouble.clone(),
            (Phase::Parked, None) => format!("{held} objects wait for an approval to be deleted"),
            (Phase::Syncing, None) if self.step == Step::Settling => {
                let pending = self.objects_pending();
                format!("{pending} workloads are not healthy yet; then {delete} objects are deleted")
            }
            (Phase::Syncing, None) => format!("applying {} objects", self.items.len()),
            (Phase::OutOfSync, _) if kept > 0 => format!("{kept} objects left the bundle and are kept"),
            (Phase::OutOfSync, _) => String::from("live objects differ and the policy does not heal them"),
            (Phase::Withdrawing, _) => format!("{} objects are still there", self.items.len()),
            (Phase::Failed, None) | (Phase::Synced, _) => first.unwrap_or_default(),
        };
        cut(&text)
    }

    /// States what changed. Phases are stated at once; health that flaps is folded, and waits for the first look at
    /// what was just applied.
    pub(super) fn restate(&mut self, at: At) {
        if self.step == Step::Gone || self.is_quiet() {
            self.state_after = None;
            return;
        }
        let status = self.status();
        let Some(stated) = &self.stated else { return self.state(status, at) };
        if same(stated, &status, true) {
            self.folded = None;
            if self.flaps == 0 {
                self.state_after = None;
            } else if self.state_after.is_some_and(|due| due <= at) {
                self.state(status, at);
            }
            return;
        }
        if stated.since != status.since {
            // What a new revision comes to is no flapping of the one before.
            self.stated_at.clear();
        }
        if !same(stated, &status, false) {
            return self.state(status, at);
        }
        if !self.unlooked.is_empty() {
            self.state_after = None;
            return;
        }
        self.stated_at.retain(|before| at.since(*before) < BUDGET_SPAN);
        if self.state_after.is_some_and(|due| due <= at) || self.stated_at.len() < BUDGET {
            return self.state(status, at);
        }
        if self.folded != Some(status.health) {
            self.folded = Some(status.health);
            self.flaps += 1;
        }
        self.state_after.get_or_insert(at.plus(FOLD));
    }

    /// A bundle that is being fetched is no news, nor is an inventory that goes last. Neither is going through an entry again
    /// whose state was stated (after a restart, or because something failed) until it comes to an end.
    fn is_quiet(&self) -> bool {
        if self.step == Step::Loading && self.retry_at.is_none() || self.is_forgetting() {
            return true;
        }
        let Some(stated) = &self.stated else { return false };
        let same_entry = stated.since == self.entry.since && stated.digest == self.entry.digest;
        if !same_entry || self.retry_at.is_some() {
            return false;
        }
        match self.step {
            Step::Storing | Step::Applying => stated.phase != Phase::Syncing,
            Step::Pruning => stated.phase == Phase::Failed,
            Step::Withdrawing => !stated.troubles.is_empty(),
            _ => false,
        }
    }

    fn state(&mut self, status: Status, at: At) {
        self.facts.push((AgentFact::InstanceChanged(status.clone()), at));
        self.stated = Some(Status { flaps: 0, ..status });
        self.stated_at.push(at);
        self.state_after = None;
        self.folded = None;
        self.flaps = 0;
        self.dirty = true;
    }
}

fn same(before: &Status, now: &Status, health: bool) -> bool {
    let causes = |status: &Status| -> Vec<_> {
        status.troubles.iter().map(|trouble| (trouble.object.clone(), trouble.cause)).collect()
    };
    let apart = before.since == now.since
        && before.digest == now.digest
        && before.phase == now.phase
        && before.held == now.held
        && (before.objects == now.objects
            || matches!(now.phase, Phase::Syncing | Phase::Withdrawing | Phase::Failed));
    apart && (!health || (before.health == now.health && causes(before) == causes(now)))
}

fn cut(text: &str) -> String {
    text.chars().take(MESSAGE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::{Entry, MAX_DELETES, Mark, Policy};
    use crate::digest::Digest;
    use crate::health::{Health, Judgement};
    use crate::id::CommitId;
    use crate::object::Key;
    use crate::sync::state::{Item, Limits};
    use alloc::collections::BTreeMap;

    /// An instance that is done, with one workload.
    fn resting() -> Instance {
        let entry = Entry {
            since: Mark { epoch: 1, generation: 1 },
            digest: Digest::default(),
            sealed: Digest::default(),
            commit: CommitId::parse(&"a".repeat(40)).unwrap(),
            policy: Policy {
                namespace: String::from("n"),
                create_namespace: false,
                prune: true,
                self_heal: true,
                allow_empty: false,
                max_deletes: MAX_DELETES,
            },
            approved: None,
            withdrawn: None,
            trace: None,
        };
        let item = Item {
            version: String::from("v1"),
            content: Digest([1; 32]),
            commit: entry.commit.clone(),
            uid: String::new(),
            owned: 0,
            keep: false,
            written: 0,
        };
        let items = BTreeMap::from([(web(), item)]);
        let mut instance = Instance::new(entry, items, None, None, Limits::default());
        instance.step = Step::Resting;
        instance.roster.judge(&web(), Judgement::new(Health::Healthy, ""));
        instance
    }

    fn web() -> Key {
        let (group, kind) = (String::from("apps"), String::from("Deployment"));
        Key { group, kind, namespace: String::from("n"), name: String::from("web") }
    }

    #[test]
    fn flapping_health_is_folded_and_a_new_revision_is_stated_at_once() {
        let mut instance = resting();
        let mut stated = Vec::new();
        let mut turn = |instance: &mut Instance, health: Health, ms: u64| {
            instance.roster.judge(&web(), Judgement::new(health, ""));
            instance.restate(At(ms));
            stated.push(instance.facts.drain(..).count());
        };
        for ms in 0..6 {
            let health = if ms % 2 == 0 { Health::Healthy } else { Health::Progressing };
            turn(&mut instance, health, ms);
        }
        instance.entry.since = Mark { epoch: 1, generation: 2 };
        turn(&mut instance, Health::Progressing, 6);
        turn(&mut instance, Health::Healthy, 7);
        assert_eq!(stated, [1, 1, 1, 1, 0, 0, 1, 1]);
    }
}
