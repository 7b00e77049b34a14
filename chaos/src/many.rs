//! Many histories, side by side on every core.

use crate::arguments::Arguments;
use crate::shrink::{Cut, shrink};
use crate::situation::Situations;
use crate::world::live;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many failures end a run: more tell nothing new.
const FAILURES_MAX: usize = 20;

/// What many histories showed.
#[derive(Debug, Default)]
pub struct Many {
    /// What occurred.
    pub seen: Situations,
    /// Seeds that failed, in order, and why.
    pub failures: Vec<(u64, String)>,
    /// Histories that were lived through.
    pub lived: u64,
}

impl Many {
    /// The shortest story of the first failure that was found: why it fails, the command that repeats it, and what to keep
    /// of it in `chaos/seed`.
    pub fn told(&self, arguments: &Arguments) -> Option<String> {
        let (seed, failure) = self.failures.first()?;
        let whole = Arguments { cut: Cut::default(), ..arguments.clone() }.draw(*seed);
        let cut = shrink(&whole);
        let (command, kept) = (Arguments::command(&whole, &cut), cut.apply(whole).to_text());
        let keep = format!("keep as chaos/seed/NAME.txt, once it is mended:\n\n# What it found.\n{kept}");
        Some(format!("seed {seed}: {failure}\nrepeat: {command}\n{keep}"))
    }
}

/// Lives through the histories that are asked for. Ends early once enough of them failed. `told` hears after each how many
/// it were.
///
/// # Panics
/// If a history does.
pub fn live_all(arguments: &Arguments, failures_max: usize, told: &(dyn Fn(u64) + Sync)) -> Many {
    let (next, end) = (AtomicU64::new(arguments.from), arguments.from + arguments.count);
    let many = Mutex::new(Many::default());
    let enough = failures_max.min(FAILURES_MAX);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let outcome = live(arguments.draw(seed), false);
            let mut many = many.lock().expect("no thread panics with the lock");
            many.lived += 1;
            many.seen.add(&outcome.seen);
            many.failures.extend(outcome.failure.map(|failure| (seed, failure)));
            told(many.lived);
            if many.failures.len() >= enough {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut many = many.into_inner().expect("every thread ended well");
    many.failures.sort();
    many
}
