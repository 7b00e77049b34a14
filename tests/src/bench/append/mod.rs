//! Log append through the hub's whole path, beside bare RocksDB with as many threads, the same batches and sync.
//!
//! Ours: a signed request on the bus, decoded, verified, judged against its cluster's chain, appended with five indexes, fsynced,
//! answered with a signed receipt. Beside it: the same event rows alone, one `WriteBatch` with sync per request, from one thread
//! per writer; and, as a second line, the same with the five index rows.

mod raw;
mod whole;

use super::probe::{cpu_us, fsync_ms, steady};
use super::{Report, Size};
use crate::harness::Folder;
use anyhow::Result;
use raw::{Raw, Rows};
use whole::Whole;

/// Writers and events per request of each line.
const LINES: [(usize, usize); 6] = [(1, 1), (16, 1), (64, 1), (256, 1), (64, 16), (64, 100)];

/// At least this share of bare RocksDB's events per second, at 64 writers (issue 4).
const BAR: f64 = 0.6;

/// Requests of one trial over all writers: some tenths of a second on a quick disk.
const REQUESTS: usize = 8_192;

/// Least requests of one writer in a trial: large ones fill and empty the hub's path, and of fewer that is all one sees.
const REQUESTS_EACH_MIN: usize = 16;

/// Most requests of one writer in a trial, so that one writer alone ends in seconds on a slow disk.
const REQUESTS_EACH_MAX: usize = 1_024;

/// Runs the benchmark and prints its table.
///
/// # Errors
/// When an append failed; a missed bar is no error.
pub async fn run(size: Size) -> Result<()> {
    let (pairs, share) = if size == Size::Smoke { (1, 16) } else { (5, 1) };
    let headline = format!("events appended per second, {pairs} pairs, interleaved with bare RocksDB");
    let mut report = Report::rates("append", &headline);
    let folder = Folder::new("bench-append")?;
    let writers = LINES.iter().map(|(writers, _)| *writers).max().unwrap_or(1);
    let mut whole = Whole::start(&folder.sub("hub")?, writers).await?;
    let raws = [(Rows::Events, "rows alone"), (Rows::Indexed, "rows and indexes")];
    for (writers, batch) in LINES {
        let requests = (REQUESTS / batch / share).clamp(writers, REQUESTS_EACH_MAX * writers);
        let each = (requests / writers).max(REQUESTS_EACH_MIN);
        for (rows, beside) in raws {
            let raw = Raw::open(&folder.sub(&format!("raw-{writers}-{batch}-{beside}"))?)?;
            // Once unmeasured, so that both sides are warm.
            whole.trial(writers, batch, 4).await?;
            raw.trial(writers, batch, 4, rows)?;
            let mut measured = Vec::new();
            let (mut syncs, mut cpu, mut raw_cpu) = (0.0, 0.0, 0.0);
            for _ in 0..pairs {
                let before = fsync_ms(folder.path())?;
                let ours = whole.trial(writers, batch, each).await?;
                let used = cpu_us()?;
                let theirs = raw.trial(writers, batch, each, rows)?;
                raw_cpu = (cpu_us()? - used) / f64::from(u32::try_from(writers * batch * each)?);
                let after = fsync_ms(folder.path())?;
                (syncs, cpu) = (ours.syncs_per_event, ours.cpu_us_per_event);
                if steady(before, after) || size == Size::Smoke {
                    measured.push((ours.per_second, theirs));
                }
            }
            let what = format!("{writers} writers x {batch}, {beside}");
            report.rate(
                &what,
                &measured,
                BAR,
                fsync_ms(folder.path())?,
                &[("syncs_per_event", syncs), ("cpu_us", cpu), ("beside_cpu_us", raw_cpu)],
            );
        }
    }
    whole.stop().await?;
    report.finish()
}
