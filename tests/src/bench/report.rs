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

    /// A report of rates: more is better, and each line gives the median of pairwise ratios.
    pub fn rates(name: &'static str, headline: &str) -> Report {
        let heads = format!(
            "{:<38}{:>12}{:>12}{:>8}{:>8}{:>8}{:>8}{:>10}",
            "what", "ours", "beside", "ratio", "least", "most", "bar", "fsync"
        );
        Report { name, lines: vec![headline.to_owned(), heads], json: Vec::new() }
    }

    /// A report of times that have a bound of their own.
    pub fn bounded(name: &'static str, headline: &str) -> Report {
        let heads = format!(
            "{:<38}{:>12}{:>12}{:>12}{:>12}{:>10}",
            "what", "ours p50", "most", "beside", "bound", "fsync"
        );
        Report { name, lines: vec![headline.to_owned(), heads], json: Vec::new() }
    }

    /// Adds times with a bound, in milliseconds.
    pub fn bound(&mut self, what: &str, ours: &[f64], beside: &[f64], bound: f64, probe: f64) {
        let (mine, theirs, most) = (median(ours), median(beside), percentile(ours, 100));
        self.lines.push(format!(
            "{what:<38}{mine:>10.0}ms{most:>10.0}ms{theirs:>10.0}ms{bound:>10.0}ms{probe:>8.2}ms"
        ));
        self.json.push(json!({
            "what": self.name, "params": what, "ours": mine, "most": most, "beside": theirs, "bound": bound,
            "unit": "ms", "probe": probe, "rounds": ours.len(),
        }));
    }

    /// Adds a sentence, and the figures in it for programs.
    pub fn note(&mut self, sentence: &str, figures: &serde_json::Value) {
        self.lines.push(sentence.to_owned());
        self.json.push(figures.clone());
    }

    /// Adds a rate: pairs of ours and what it is compared with, per second, and more figures of the last pair.
    pub fn rate(&mut self, what: &str, pairs: &[(f64, f64)], bar: f64, probe: f64, more: &[(&str, f64)]) {
        let ratios: Vec<f64> = pairs.iter().map(|(ours, beside)| ours / beside).collect();
        let (ours, beside): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let (mine, theirs, ratio) = (median(&ours), median(&beside), median(&ratios));
        let (least, most) = (percentile(&ratios, 0), percentile(&ratios, 100));
        self.lines.push(format!(
            "{what:<38}{mine:>10.0}/s{theirs:>10.0}/s{ratio:>7.2}x{least:>7.2}x{most:>7.2}x{bar:>7.2}x{probe:>8.2}ms"
        ));
        let mut line = json!({
            "what": self.name, "params": what, "ours": mine, "beside": theirs, "ratio": ratio, "least": least,
            "most": most, "bar": bar, "unit": "1/s", "probe": probe, "pairs": pairs.len(),
        });
        for (name, figure) in more {
            line[name] = json!(figure);
        }
        self.json.push(line);
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

    /// Adds a figure whose bars are times: p50 and p99 in milliseconds, beside times that nobody can go below.
    pub fn absolute(&mut self, what: &str, ours: &[f64], beside: &[f64], bars: (f64, f64), probe: f64) {
        let (p50, p99, theirs) = (median(ours), percentile(ours, 99), median(beside));
        self.lines.push(format!(
            "{what:<28}{p50:>8.0}ms{p99:>8.0}ms{theirs:>8.0}ms{:>10}{:>8}{probe:>8.2}ms",
            format!("{:.0}/{:.0}", bars.0, bars.1),
            "",
        ));
        self.json.push(json!({
            "what": self.name, "params": what, "ours": p50, "ours_p99": p99, "beside": theirs, "bar": bars.0,
            "bar_p99": bars.1, "unit": "ms", "probe": probe, "rounds": ours.len(),
        }));
    }

    /// Adds one measurement in its unit, beside that of what it is compared with, and its bar.
    pub fn value(&mut self, what: &str, unit: &str, ours: f64, beside: Option<f64>, bar: f64) {
        let theirs = beside.map(|value| format!("{value:.1}{unit}")).unwrap_or_default();
        self.lines.push(format!(
            "{what:<30}{:>10}{:>10}{theirs:>10}{:>10}",
            format!("{ours:.2}{unit}"),
            "",
            format!("{bar}{unit}"),
        ));
        self.json.push(json!({
            "what": self.name, "params": what, "ours": ours, "beside": beside, "bar": bar, "unit": unit,
        }));
    }

    /// Prints the table and appends the JSON lines.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> Result<()> {
        let folder = PathBuf::from("target/bench");
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
