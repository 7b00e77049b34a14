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
