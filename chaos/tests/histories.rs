//! Histories end well, show what they are to show, and notice mistakes that are put in on purpose.

use std::fs;
use taffrail_chaos::arguments::Arguments;
use taffrail_chaos::plan::{Mistake, Plan};
use taffrail_chaos::{live, live_all};

/// Histories of one run: two free cores take less than a minute.
const HISTORIES: u64 = 5_000;

/// Histories that a mutation of the core is shown (`scripts/mutants.sh`): from where, and how many.
const FEW: (u64, u64) = (1_000_000, 300);

/// In so many histories a mistake must show itself.
const NOTICED_WITHIN: u64 = 400;

/// With so many seeds a kept history is lived through: chance differs after a change of the simulator.
const CHANCES: u64 = 20;

#[test]
fn many_histories_end_well_and_show_every_situation() {
    let arguments = Arguments { count: HISTORIES, ..Arguments::default() };
    let many = live_all(&arguments, 1, &|_| {});
    assert!(many.failures.is_empty(), "{}", many.told(&arguments).unwrap_or_default());
    let missing = many.seen.missing();
    assert!(missing.is_empty(), "never seen in {HISTORIES} histories: {missing:?}");
}

#[test]
fn a_few_histories_end_well() {
    let arguments = Arguments { from: FEW.0, count: FEW.1, ..Arguments::default() };
    let many = live_all(&arguments, 1, &|_| {});
    assert!(many.failures.is_empty(), "{}", many.told(&arguments).unwrap_or_default());
}

#[test]
fn a_history_repeats_itself_to_the_last_step() {
    for seed in [3, 14, 159] {
        let [one, other] = [(); 2].map(|()| live(Arguments::default().draw(seed), true));
        assert_eq!(one.story, other.story);
    }
}

#[test]
fn histories_that_once_failed_end_well() {
    let folder = "seed";
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "histories are kept in {folder}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# "), "{} begins with what it found", file.display());
        let plan = Plan::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for seed in plan.seed..plan.seed + CHANCES {
            let outcome = live(Plan { seed, ..plan.clone() }, false);
            let again = format!("cargo run -p taffrail-chaos -- --plan {} --seed {seed}", file.display());
            assert_eq!(outcome.failure, None, "repeat: {again}");
        }
    }
}

#[test]
fn every_mistake_that_is_put_in_is_noticed() {
    for (mistake, name) in Mistake::ALL {
        let arguments = Arguments { count: NOTICED_WITHIN, mistake: Some(mistake), ..Arguments::default() };
        let many = live_all(&arguments, 1, &|_| {});
        assert!(!many.failures.is_empty(), "{NOTICED_WITHIN} histories end well with the mistake {name}");
    }
}
