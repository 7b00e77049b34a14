//! What an answer costs does not grow with the app: steps, requests, rows of the journal.

use super::model::*;
use crate::node::agent::{Act, Input, Outputs};
use crate::sync::Effect;
use crate::time::Span;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Work {
    steps: usize,
    loads: usize,
    requests: usize,
    heads: usize,
    rows: usize,
    facts: usize,
}

impl Work {
    fn count(&mut self, out: &Outputs) {
        self.steps += 1;
        self.heads += out.dirty.len();
        self.rows += out.items.values().map(alloc::collections::BTreeSet::len).sum::<usize>();
        self.facts += out.facts.len();
        for act in &out.acts {
            match act {
                Act::Instance { effect: Effect::Load { .. }, .. } => self.loads += 1,
                _ => self.requests += 1,
            }
        }
    }
}

/// An agent beside its cluster, whose every step is counted.
struct Counted {
    sim: Sim,
    pending: VecDeque<(crate::id::AppId, Effect)>,
    work: Work,
}

impl Counted {
    fn new(count: usize) -> Counted {
        let mut sim = Sim::new();
        let many: Vec<String> = (0..count).map(|n| format!("Deployment/d{n}")).collect();
        sim.entry("web", 'a', many.iter().map(|name| object(name, "1")).collect());
        sim.send();
        let pending = core::mem::take(&mut sim.pending);
        let mut counted = Counted { sim, pending, work: Work::default() };
        counted.run();
        counted
    }

    fn step(&mut self, input: Input) {
        let out = self.sim.agent.step(input, self.sim.now);
        self.work.count(&out);
        for act in out.acts {
            match act {
                Act::Instance { app, effect } => self.pending.push_back((app, effect)),
                Act::Watch(kinds) => kinds.iter().for_each(|kind| self.sim.world.list(kind)),
            }
        }
    }

    /// Everything that happens within a minute.
    fn run(&mut self) {
        let end = self.sim.now.plus(Span::secs(60));
        loop {
            while let Some(input) = self.sim.world.shown.pop_front() {
                self.step(input);
            }
            if let Some((app, effect)) = self.pending.pop_front() {
                let input = self.sim.world.perform(app, effect);
                self.step(input);
            } else if let Some(due) = self.sim.agent.next_wake().filter(|due| *due <= end) {
                self.sim.now = due.max(self.sim.now);
                self.step(Input::Wake);
            } else {
                return;
            }
        }
    }

    fn healed(&mut self, drift: impl FnOnce(&mut World)) -> Work {
        self.work = Work::default();
        drift(&mut self.sim.world);
        self.run();
        self.sim.agent.check().unwrap();
        core::mem::take(&mut self.work)
    }
}

#[test]
fn healing_one_object_costs_the_same_among_fifty_and_among_two_thousand() {
    let work = [50, 2_000].map(|count| {
        let mut counted = Counted::new(count);
        let edit = counted.healed(|world| world.edit("Deployment/d7", ".spec.replicas", "kubectl-scale"));
        let deletion = counted.healed(|world| world.delete("Deployment/d8"));
        assert!(counted.sim.has("Deployment/d8"));
        (edit, deletion)
    });
    assert_eq!(work[0], work[1]);
    let (edit, deletion) = &work[0];
    assert_eq!((edit.loads, deletion.loads), (0, 0), "the bundle is not read again for one object");
    assert_eq!((edit.rows, deletion.rows), (0, 1), "what was made again has another uid: {work:?}");
}

#[test]
fn delivering_costs_rows_for_what_changed_and_heads_for_every_sixty_fourth() {
    let mut counted = Counted::new(2_000);
    assert_eq!(counted.sim.world.applies.len(), 2_000);
    assert_eq!(counted.work.rows, 4_000, "once when it is to be ours, once when it is");
    assert!(counted.work.heads <= 2_000 / 64 + 8, "{:?}", counted.work);
    let mut next: Vec<_> = (0..2_000).map(|n| object(&format!("Deployment/d{n}"), "1")).collect();
    next[5] = object("Deployment/d5", "2");
    counted.sim.entry("web", 'b', next);
    counted.sim.index.mark.generation += 1;
    let digest = digest("second");
    counted.work = Work::default();
    let (index, permit) = (counted.sim.index.clone(), crate::desired::Permit::None);
    counted.step(Input::Index { index, digest, permit });
    counted.run();
    let (rows, loads) = (counted.work.rows, counted.work.loads);
    assert_eq!((rows, loads), (2, 1), "one object changed, asked for and answered: {:?}", counted.work);
}
