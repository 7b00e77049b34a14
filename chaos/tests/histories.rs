//! Histories end well, show what they are to show, and notice mistakes that are put in on purpose.

use taffrail_chaos::arguments::Arguments;
use taffrail_chaos::plan::Mistake;
use taffrail_chaos::{live, live_all};

/// Histories of one run: what a machine with two cores, half of them free, lives through in half a minute.
const HISTORIES: u64 = 1_200;

/// In so many histories a mistake must show itself.
const NOTICED_WITHIN: u64 = 400;

#[test]
fn many_histories_end_well_and_show_every_situation() {
    let arguments = Arguments { count: HISTORIES, ..Arguments::default() };
    let many = live_all(&arguments, 1);
    assert!(many.failures.is_empty(), "{}", many.told(&arguments).unwrap_or_default());
    let missing = many.seen.missing();
    assert!(missing.is_empty(), "never seen in {HISTORIES} histories: {missing:?}");
}

#[test]
fn a_history_repeats_itself_to_the_last_step() {
    for seed in [3, 14, 159] {
        let [one, other] = [(); 2].map(|()| live(Arguments::default().plan(seed), true));
        assert_eq!(one.story, other.story);
    }
}

#[test]
fn every_mistake_that_is_put_in_is_noticed() {
    for (mistake, name) in Mistake::ALL {
        let arguments = Arguments { count: NOTICED_WITHIN, mistake: Some(mistake), ..Arguments::default() };
        let many = live_all(&arguments, 1);
        assert!(!many.failures.is_empty(), "{NOTICED_WITHIN} histories end well with the mistake {name}");
    }
}
