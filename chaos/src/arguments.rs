//! How a history is named: on the command line, and in the files of kept seeds.

use crate::plan::{Fault, Mistake, Plan};
use crate::shrink::Cut;

/// What a person asks for.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// One history.
    pub seed: Option<u64>,
    /// A file with the plan of a kept history; the seed is then the chance with which it is lived through.
    pub plan: Option<String>,
    /// What is taken out of it.
    pub cut: Cut,
    /// A mistake that is put in.
    pub mistake: Option<Mistake>,
    /// First seed of many.
    pub from: u64,
    /// How many.
    pub count: u64,
    /// Say nothing but the end.
    pub quiet: bool,
}

impl Arguments {
    /// Reads words as a shell splits them; `None` if they are not understood.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
        let mut found = Arguments::default();
        while let Some(word) = words.next() {
            if word == "--quiet" {
                found.quiet = true;
                continue;
            }
            let value = words.next()?;
            match word.as_str() {
                "--seed" => found.seed = Some(value.parse().ok()?),
                "--plan" => found.plan = Some(value),
                "--from" => found.from = value.parse().ok()?,
                "--count" => found.count = value.parse().ok()?,
                "--drop" => {
                    found.cut.drop = value.split(',').map(|n| n.parse().ok()).collect::<Option<_>>()?;
                }
                "--without" => {
                    let fault = |name: &str| Fault::ALL.iter().find(|(_, known)| *known == name);
                    let faults = value.split(',').map(|name| fault(name).map(|(fault, _)| *fault));
                    found.cut.without = faults.collect::<Option<_>>()?;
                }
                "--mistake" => {
                    let known = Mistake::ALL.iter().find(|(_, known)| *known == value);
                    found.mistake = Some(known?.0);
                }
                _ => return None,
            }
        }
        (found.seed.is_some() || found.plan.is_some() || found.count > 0).then_some(found)
    }

    /// The plan of a seed, with what is asked for.
    pub fn draw(&self, seed: u64) -> Plan {
        self.cut.apply(Plan { mistake: self.mistake, ..Plan::draw(seed) })
    }

    /// The command that lives a history through again and tells it.
    pub fn command(plan: &Plan, cut: &Cut) -> String {
        let mistake = Mistake::ALL.iter().find(|(known, _)| Some(*known) == plan.mistake);
        let mistake = mistake.map(|(_, name)| format!(" --mistake {name}")).unwrap_or_default();
        format!("cargo run -p taffrail-chaos -- {}{mistake}", cut.arguments(plan))
    }
}
