//! Shrinking: a failing history loses faults and actions as long as it goes on failing.

use crate::plan::{Fault, Plan};
use crate::world::live;
use std::collections::BTreeSet;

/// What was taken out of the history of a seed: with the seed it is the whole history again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Faults that are off.
    pub without: BTreeSet<Fault>,
    /// Numbers of actions that do not happen.
    pub drop: BTreeSet<usize>,
}

impl Cut {
    /// The plan without what was cut.
    pub fn apply(&self, mut plan: Plan) -> Plan {
        plan.faults.retain(|fault| !self.without.contains(fault));
        let mut number = 0;
        plan.actions.retain(|_| {
            number += 1;
            !self.drop.contains(&(number - 1))
        });
        plan
    }

    /// The arguments that repeat a history.
    pub fn arguments(&self, plan: &Plan) -> String {
        let mut text = format!("--seed {}", plan.seed);
        let names = Fault::ALL
            .iter()
            .filter(|(fault, _)| self.without.contains(fault) && plan.faults.contains(fault));
        let names: Vec<&str> = names.map(|(_, name)| *name).collect();
        if !names.is_empty() {
            text.push_str(" --without ");
            text.push_str(&names.join(","));
        }
        if !self.drop.is_empty() {
            let numbers: Vec<String> = self.drop.iter().map(ToString::to_string).collect();
            text.push_str(" --drop ");
            text.push_str(&numbers.join(","));
        }
        text
    }
}

/// The smallest cut of a failing plan that is found by leaving out one thing after the other.
pub fn shrink(plan: &Plan) -> Cut {
    let mut cut = Cut::default();
    let kind = |cut: &Cut| live(cut.apply(plan.clone()), false).failure.map(|failure| kind_of(&failure));
    let wanted = kind(&cut);
    let fails = |cut: &Cut| kind(cut) == wanted;
    let mut shrinking = true;
    while shrinking {
        shrinking = false;
        for fault in &plan.faults {
            let mut smaller = cut.clone();
            if smaller.without.insert(*fault) && fails(&smaller) {
                (cut, shrinking) = (smaller, true);
            }
        }
        let mut width = plan.actions.len().div_ceil(2);
        while width > 0 {
            for from in (0..plan.actions.len()).step_by(width) {
                let mut smaller = cut.clone();
                let more = from..(from + width).min(plan.actions.len());
                smaller.drop.extend(more);
                if smaller != cut && fails(&smaller) {
                    (cut, shrinking) = (smaller, true);
                }
            }
            width /= 2;
        }
    }
    cut
}

/// What a failure says apart from names and numbers.
fn kind_of(failure: &str) -> String {
    let plain = |word: &&str| word.chars().all(char::is_lowercase);
    failure.split(' ').filter(plain).take(6).collect()
}
