//! Figures as a table for people and as JSON lines for programs.

use super::{median, percentile};
use anyhow::{Context as _, Result};
use serde_json::json;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

/// One benchmark's figures.
pub struct Report {
    name: &'static str,
    lines: Vec<String>,
    json: Vec<serde_json::Value>,
}

impl Report {
    /// A report whose JSON lines go to `target/bench/NAME.jsonl`.
    pub fn new(name: &'static str, headline: &str) -> Report {
        let heads = format!(
            "{:<28}{:>10}{:>10}{:>10}{:>10}{:>8}{:>10}",
            "what", "ours p50", "p99", "beside", "bar", "ratio", "fsync"
        );
        Report { name, lines: vec![headline.to_owned(), heads], json: Vec::new() }
    }

    /// Adds a figure: our measurements beside those of what it is compared with, all in milliseconds.
    pub fn add(&mut self, what: &str, ours: &[f64], beside: &[f64], bar: f64, probe: f64) {
        let (mine, theirs) = (median(ours), median(beside));
        let ratio = if theirs > 0.0 { mine / theirs } else { 0.0 };
        self.lines.push(format!(
            "{what:<28}{mine:>8.0}ms{:>8.0}ms{theirs:>8.0}ms{:>9.1}x{ratio:>7.2}x{probe:>8.2}ms",
            percentile(ours, 99),
            bar,
        ));
        self.json.push(json!({
            "what": self.name, "params": what, "ours": mine, "ours_p99": percentile(ours, 99), "beside": theirs,
            "ratio": ratio, "bar": bar, "unit": "ms", "probe": probe, "rounds": ours.len(),
        }));
    }

    /// Prints the table and appends the JSON lines.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> Result<()> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
        std::fs::create_dir_all(&folder).context("make target/bench")?;
        let path = folder.join(format!("{}.jsonl", self.name));
        let mut file =
            OpenOptions::new().create(true).append(true).open(&path).context("open the figures' file")?;
        for line in &self.json {
            writeln!(file, "{line}")?;
        }
        let mut out = std::io::stdout().lock();
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}
