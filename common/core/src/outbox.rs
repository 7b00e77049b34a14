//! Which facts of an agent are numbered now, and which are folded because the outbox has no room.
//!
//! ```text
//!  a fact ──► room beyond the reserve? ──yes──► numbered at once
//!                    │ no
//!                    ▼
//!             a transition, and room in the reserve? ──yes──► numbered at once
//!                    │ no
//!                    ▼
//!             folded: the newest of its app and kind is kept, the earlier ones are counted
//!  room again ──► `FactsFolded` with the count, then the newest, numbered like any other
//! ```
//! Nothing that is numbered is ever dropped: the chain would have a gap. What is not numbered costs no space that grows with
//! time: at most one fold for each app and kind. Acting never waits for room.

use crate::desired::Mark;
use crate::digest::Digest;
use crate::event::agent::{Phase, Refusal};
use crate::event::{Actor, AgentEvent, AgentFact, Context};
use crate::id::AppId;
use crate::time::At;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// The share of the room that is kept for transitions: a quarter (design, section 9).
const RESERVE: u64 = 4;

/// What facts are folded by: the app they are about, and their kind.
pub type Name = (Option<AppId>, &'static str);

/// Facts of one app and kind that were not numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// The newest.
    pub newest: AgentEvent,
    /// How many there were before it.
    pub earlier: u32,
    /// Time of the first of them.
    pub since: At,
    /// One of them is a transition.
    pub urgent: bool,
}

/// The room of an outbox, and what waits for it.
#[derive(Clone, Debug)]
pub struct Outbox {
    room: u64,
    used: u64,
    folds: BTreeMap<Name, Fold>,
    changed: BTreeSet<Name>,
    last: BTreeMap<AppId, (Mark, Digest, Phase)>,
}

impl Outbox {
    /// An outbox for `room` bytes of which `used` are taken, with the folds that a journal holds.
    pub fn new(room: u64, used: u64, folds: Vec<Fold>) -> Outbox {
        let folds = folds.into_iter().map(|fold| (name(&fold.newest), fold)).collect();
        Outbox { room, used, folds, changed: BTreeSet::new(), last: BTreeMap::new() }
    }

    /// Whether something waits for room.
    pub fn waits(&self) -> bool {
        !self.folds.is_empty()
    }

    /// Bytes that numbered events take.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// An event was numbered.
    pub fn numbered(&mut self, bytes: u64) {
        self.used += bytes;
    }

    /// Receipts made room.
    pub fn freed(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// A fact was stated: what is to be numbered now, in order. `size` says how long an event is when it is numbered.
    pub fn state(&mut self, event: AgentEvent, size: impl Fn(&AgentEvent) -> u64) -> Vec<AgentEvent> {
        let (urgent, since) = (self.is_transition(&event), event.context.at);
        let of = name(&event);
        let fold = match self.folds.remove(&of) {
            None => Fold { newest: event, earlier: 0, since, urgent },
            Some(known) => {
                self.changed.insert(of);
                let earlier = known.earlier.saturating_add(1);
                Fold { newest: event, earlier, since: known.since, urgent: urgent || known.urgent }
            }
        };
        self.release(fold, &size)
    }

    /// Whatever has room by now, in order.
    pub fn drain(&mut self, size: impl Fn(&AgentEvent) -> u64) -> Vec<AgentEvent> {
        let Some((of, fold)) = self.folds.iter().find(|(_, fold)| self.fits(fold, &size)) else {
            return Vec::new();
        };
        let (of, fold) = (of.clone(), fold.clone());
        self.folds.remove(&of);
        self.changed.insert(of);
        told(fold)
    }

    /// Folds that are not as a journal has them; `None` for those that are gone.
    pub fn changes(&mut self) -> Vec<(Name, Option<&Fold>)> {
        let changed = core::mem::take(&mut self.changed);
        changed.into_iter().map(|of| (of.clone(), self.folds.get(&of))).collect()
    }

    fn release(&mut self, fold: Fold, size: &impl Fn(&AgentEvent) -> u64) -> Vec<AgentEvent> {
        if self.fits(&fold, size) {
            return told(fold);
        }
        let of = name(&fold.newest);
        self.changed.insert(of.clone());
        self.folds.insert(of, fold);
        Vec::new()
    }

    fn fits(&self, fold: &Fold, size: &impl Fn(&AgentEvent) -> u64) -> bool {
        let room = if fold.urgent { self.room } else { self.room - self.room / RESERVE };
        let bytes: u64 = told(fold.clone()).iter().map(size).sum();
        self.used.saturating_add(bytes) <= room
    }

    /// Whether a fact is a step of an app or of the agent; others repeat, or tell of single objects.
    fn is_transition(&mut self, event: &AgentEvent) -> bool {
        match (&event.fact, &event.context.app) {
            (AgentFact::InstanceChanged(status), Some(app)) => {
                let now = (status.since, status.digest, status.phase);
                self.last.insert(app.clone(), now) != Some(now)
            }
            (AgentFact::Started { .. } | AgentFact::Pruned { .. } | AgentFact::Withdrawn { .. }, _) => true,
            (AgentFact::IndexRefused { reason, .. }, _) => *reason == Refusal::Equivocation,
            _ => false,
        }
    }
}

/// What facts are folded by.
pub fn name(event: &AgentEvent) -> Name {
    (event.context.app.clone(), event.fact.kind())
}

/// A fold as events: how many facts are not told one by one, then the newest.
fn told(fold: Fold) -> Vec<AgentEvent> {
    let Fold { newest, earlier, since, .. } = fold;
    let until = newest.context.at;
    let folded = (earlier > 0).then(|| {
        let mut context = Context::new(Actor::Agent, until);
        context.app.clone_from(&newest.context.app);
        let kind = String::from(newest.fact.kind());
        AgentEvent { context, fact: AgentFact::FactsFolded { kind, count: earlier, since, until } }
    });
    folded.into_iter().chain([newest]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::agent::Status;
    use crate::health::Health;
    use crate::object::Key;
    use alloc::string::ToString;
    use proptest::prelude::*;

    /// Every event takes so many bytes here.
    const SIZE: u64 = 10;

    fn app(name: u8) -> Option<AppId> {
        AppId::parse(["shop/web", "shop/db"][usize::from(name % 2)]).ok()
    }

    fn event(app: Option<AppId>, at: u64, fact: AgentFact) -> AgentEvent {
        let mut context = Context::new(Actor::Agent, At(at));
        context.app = app;
        AgentEvent { context, fact }
    }

    fn healed(at: u64) -> AgentFact {
        let (fields, manager) = (Vec::new(), String::new());
        let object = Key {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: "web".into(),
            name: at.to_string(),
        };
        AgentFact::DriftHealed { object, fields, manager, lasted_ms: 1, attempts: 1 }
    }

    fn status(phase: Phase, health: Health) -> AgentFact {
        AgentFact::InstanceChanged(Status {
            since: Mark::default(),
            digest: Digest::default(),
            phase,
            health,
            message: String::new(),
            troubles: Vec::new(),
            objects: 1,
            held: Vec::new(),
            flaps: 0,
        })
    }

    fn state(outbox: &mut Outbox, event: AgentEvent) -> Vec<&'static str> {
        let now = outbox.state(event, |_| SIZE);
        outbox.numbered(SIZE * now.len() as u64);
        now.iter().map(|event| event.fact.kind()).collect()
    }

    #[test]
    fn repeating_facts_leave_a_quarter_to_transitions_and_a_fold_is_told_with_its_count() {
        let mut outbox = Outbox::new(8 * SIZE, 0, Vec::new());
        for at in 0..6 {
            assert_eq!(state(&mut outbox, event(app(0), at, healed(at))), ["DriftHealed"]);
        }
        for at in 6..9 {
            assert_eq!(
                state(&mut outbox, event(app(0), at, healed(at))),
                [""; 0],
                "the reserve is not theirs"
            );
        }
        let synced = status(Phase::Synced, Health::Healthy);
        assert_eq!(state(&mut outbox, event(app(0), 9, synced)), ["InstanceChanged"]);
        let unwell = status(Phase::Synced, Health::Degraded);
        assert_eq!(state(&mut outbox, event(app(0), 10, unwell)), [""; 0], "health alone repeats");
        let syncing = status(Phase::Syncing, Health::Degraded);
        assert_eq!(state(&mut outbox, event(app(0), 11, syncing)), [""; 0], "two would not fit any more");
        assert_eq!(outbox.changes().len(), 2);
        outbox.freed(8 * SIZE);
        let mut told = Vec::new();
        loop {
            let now = outbox.drain(|_| SIZE);
            if now.is_empty() {
                break;
            }
            told.extend(now);
        }
        let counts = told.iter().map(|event| match &event.fact {
            AgentFact::FactsFolded { kind, count, since, until } => (kind.clone(), *count, since.0, until.0),
            other => (other.kind().to_string(), 0, event.context.at.0, event.context.at.0),
        });
        let wanted = [
            ("DriftHealed", 2, 6, 8),
            ("DriftHealed", 0, 8, 8),
            ("InstanceChanged", 1, 10, 11),
            ("InstanceChanged", 0, 11, 11),
        ];
        let wanted = wanted.map(|(kind, count, since, until)| (kind.to_string(), count, since, until));
        assert_eq!(counts.collect::<Vec<_>>(), wanted);
        assert!(!outbox.waits());
    }

    proptest! {
        /// Whatever is stated and freed, numbered events never exceed the room, folds stay few, and every fact is told or counted.
        #[test]
        fn every_fact_is_numbered_or_counted_and_the_room_is_kept(
            room in 0..12u64,
            moves in proptest::collection::vec((0..4u8, 0..2u8), 0..60)
        ) {
            let mut outbox = Outbox::new(room * SIZE, 0, Vec::new());
            let (mut stated, mut told, mut kept) = (0u64, 0u64, 0usize);
            let mut count = |events: &[AgentEvent]| {
                for event in events {
                    told += match &event.fact {
                        AgentFact::FactsFolded { count, .. } => u64::from(*count),
                        _ => 1,
                    };
                }
            };
            let mut journal: BTreeMap<Name, Fold> = BTreeMap::new();
            for (at, (what, of)) in moves.into_iter().enumerate() {
                let at = at as u64;
                let fact = match what {
                    0 => healed(at),
                    1 => status(Phase::Synced, [Health::Healthy, Health::Degraded][usize::from(of)]),
                    2 => status(Phase::Failed, Health::Degraded),
                    _ => {
                        outbox.freed(3 * SIZE);
                        let now = outbox.drain(|_| SIZE);
                        outbox.numbered(SIZE * now.len() as u64);
                        count(&now);
                        continue;
                    }
                };
                stated += 1;
                let now = outbox.state(event(app(of), at, fact), |_| SIZE);
                outbox.numbered(SIZE * now.len() as u64);
                count(&now);
                prop_assert!(outbox.used() <= room * SIZE);
                for (of, fold) in outbox.changes() {
                    match fold {
                        Some(fold) => drop(journal.insert(of, fold.clone())),
                        None => drop(journal.remove(&of)),
                    }
                }
                kept = kept.max(journal.len());
            }
            prop_assert!(kept <= 4);
            let waiting: u64 = outbox.folds.values().map(|fold| u64::from(fold.earlier) + 1).sum();
            prop_assert_eq!(stated, told + waiting);
        }
    }
}
