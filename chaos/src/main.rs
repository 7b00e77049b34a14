//! Lives histories through: one by its seed, told; or many, with a shrunk story of the first that fails.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use taffrail_chaos::arguments::Arguments;
use taffrail_chaos::plan::Plan;
use taffrail_chaos::{live, live_all};

const USAGE: &str = "usage: chaos --seed N [--without FAULT,...] [--drop N,...] [--mistake NAME] [--quiet]
       chaos --plan FILE [--seed N] [--quiet]
       chaos --from N --count N [--mistake NAME]";

/// Pause between two words about how far many histories are.
const WORD_EVERY: Duration = Duration::from_secs(10);

#[expect(clippy::print_stdout, reason = "the one place where the program talks to a terminal")]
fn say(line: &str) {
    println!("{line}");
}

fn one(arguments: &Arguments, plan: Plan) -> ExitCode {
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
    let word = Mutex::new(began);
    let many = live_all(arguments, usize::MAX, &|lived| {
        let mut word = word.lock().expect("no thread panics with the lock");
        if word.elapsed() >= WORD_EVERY {
            *word = Instant::now();
            say(&format!(
                "{lived} of {} histories in {:.0} s",
                arguments.count,
                began.elapsed().as_secs_f64()
            ));
        }
    });
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
    let kept = arguments.plan.as_ref().map(|file| {
        let text = std::fs::read_to_string(file).map_err(|error| format!("read {file}: {error}"))?;
        let plan = Plan::parse(&text).map_err(|error| format!("read {file}: {error}"))?;
        Ok::<Plan, String>(Plan { seed: arguments.seed.unwrap_or(plan.seed), ..plan })
    });
    match (kept, arguments.seed) {
        (Some(Ok(plan)), _) => one(&arguments, plan),
        (Some(Err(error)), _) => {
            say(&error);
            ExitCode::FAILURE
        }
        (None, Some(seed)) => one(&arguments, arguments.draw(seed)),
        (None, None) => many(&arguments),
    }
}
