//! What one fsync costs on this disk now.

use super::median;
use anyhow::{Context as _, Result};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

/// Appends, each of 512 bytes with an fdatasync, as every benchmark's figures name them.
const APPENDS: usize = 200;

/// Median time of one append with fdatasync in `folder`, in milliseconds.
pub(super) fn fsync_ms(folder: &Path) -> Result<f64> {
    let path = folder.join("probe");
    let mut file = File::create(&path).context("make the probe's file")?;
    let mut times = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        let start = Instant::now();
        file.write_all(&[0u8; 512])?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1_000.0);
    }
    std::fs::remove_file(&path)?;
    Ok(median(&times))
}

/// Whether two probes around a trial agree well enough for its figures to count: less than a factor of two apart.
pub(super) fn steady(before: f64, after: f64) -> bool {
    before.max(after) <= 2.0 * before.min(after)
}

/// Ticks of the processor clock in a second, as `/proc` counts them on Linux.
const TICKS: f64 = 100.0;

/// Processor time that this process has used, in microseconds, to the nearest 10,000.
pub(super) fn cpu_us() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    let behind_name = stat.rsplit_once(')').context("read /proc/self/stat")?.1;
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let ticks = |place: usize| -> Result<f64> { Ok(fields.get(place).context("a field")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS * 1e6)
}
