//! Lives histories through: one by its seed, told; or many, with a shrunk story of the first that fails.

use std::process::ExitCode;
use std::time::Instant;
use taffrail_chaos::arguments::Arguments;
use taffrail_chaos::{live, live_all};

const USAGE: &str = "usage: chaos --seed N [--without FAULT,...] [--drop N,...] [--mistake NAME] [--quiet]
       chaos --from N --count N [--mistake NAME]";

#[expect(clippy::print_stdout, reason = "the one place where the program talks to a terminal")]
fn say(line: &str) {
    println!("{line}");
}

fn one(arguments: &Arguments, seed: u64) -> ExitCode {
    let plan = arguments.plan(seed);
    if !arguments.quiet {
        say(&format!("{plan:#?}"));
    }
    let outcome = live(plan, !arguments.quiet);
    outcome.story.iter().for_each(|line| say(line));
    say(&format!("{} happenings in {} s of the world", outcome.happenings, outcome.lasted / 1_000));
    match outcome.failure {
        None => {
            say("all is well");
            ExitCode::SUCCESS
        }
        Some(failure) => {
            say(&format!("wrong: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn many(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let many = live_all(arguments, usize::MAX);
    for (what, count) in many.seen.counts() {
        say(&format!("{count:>10}  {what}"));
    }
    say(&format!("{} histories in {:.1} s", many.lived, began.elapsed().as_secs_f64()));
    for (seed, failure) in &many.failures {
        say(&format!("seed {seed}: {failure}"));
    }
    match many.told(arguments) {
        None => ExitCode::SUCCESS,
        Some(story) => {
            say(&format!("\nthe first one, shrunk\n{story}"));
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        say(USAGE);
        return ExitCode::FAILURE;
    };
    match arguments.seed {
        Some(seed) => one(&arguments, seed),
        None => many(&arguments),
    }
}
