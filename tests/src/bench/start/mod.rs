//! From the start of the hub's process until it answers and delivers, over a log of a million events.

mod history;

use super::probe::fsync_ms;
use super::{Report, Size};
use crate::harness::{Folder, Hub, HubOptions, wait_for};
use anyhow::{Context as _, Result, ensure};
use rocksdb::{DB, IteratorMode, Options};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest start (issue 4), in milliseconds.
const BAR_MS: f64 = 10_000.0;

/// Longest wait for one start.
const START_MAX: Duration = Duration::from_mins(3);

/// Runs the benchmark and prints its table.
///
/// # Errors
/// When the hub did not start; a missed bar is no error.
pub async fn run(size: Size) -> Result<()> {
    let (wanted, starts) = if size == Size::Smoke { (10_000, 1) } else { (1_000_000, 5) };
    let folder = Folder::new("bench-start")?;
    let data = folder.sub("hub")?;
    let mut hub = Hub::start(&data, HubOptions::default()).await?;
    hub.stop().await?;
    let log = data.join("data/log");
    std::fs::remove_dir_all(&log).context("make room for the history")?;
    std::fs::remove_file(data.join("data/log.witness")).context("forget the log that was")?;
    let begun = Instant::now();
    let events = history::write(&log, wanted).await?;
    let written = begun.elapsed().as_secs_f64();
    let headline =
        format!("start of the hub over {events} events (written in {written:.0} s), file cache warm");
    let mut report = Report::bounded("start", &headline);
    let (mut ours, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..starts {
        let begun = Instant::now();
        hub.begin()?;
        delivers(&hub).await?;
        ours.push(begun.elapsed().as_secs_f64() * 1_000.0);
        ensure!(hub.stop().await?.success(), "the hub did not stop by itself");
        beside.push(read(&log, events)?);
    }
    report.bound("until it delivers; beside: raw read", &ours, &beside, BAR_MS, fsync_ms(folder.path())?);
    report.finish()
}

/// Waits until the log is folded and NATS is connected. The source of this log is nowhere, so that the hub never calls itself ready.
async fn delivers(hub: &Hub) -> Result<()> {
    wait_for("the hub delivers", START_MAX, async || {
        let (_, checks) = hub.get("/readyz?verbose").await?;
        Ok(["[+] log", "[+] nats"].iter().all(|check| checks.contains(check)).then_some(()))
    })
    .await
}

/// Reads every event row in order, as RocksDB gives them; milliseconds.
fn read(folder: &Path, events: u64) -> Result<f64> {
    let begun = Instant::now();
    let families = ["default", "events", "index", "blobs", "meta"];
    let db = DB::open_cf_for_read_only(&Options::default(), folder, families, false)?;
    let table = db.cf_handle("events").context("find the events")?;
    let (mut rows, mut bytes) = (0, 0);
    for row in db.iterator_cf(&table, IteratorMode::Start) {
        bytes += row?.1.len();
        rows += 1;
    }
    ensure!(rows >= events && bytes > 0, "{rows} rows of {events} events");
    Ok(begun.elapsed().as_secs_f64() * 1_000.0)
}
