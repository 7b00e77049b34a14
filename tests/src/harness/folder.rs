//! A temporary folder that vanishes, unless its test fails.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Lines of each log that are shown when a test fails.
const LOG_TAIL: usize = 40;
/// How deep logs are looked for.
const DEPTH_MAX: usize = 3;

/// A temporary folder. When its value is dropped by a panic, it stays, is named, and the end of each `*.log` in it is
/// shown.
#[derive(Debug)]
pub struct Folder {
    folder: Option<TempDir>,
    path: PathBuf,
}

impl Folder {
    /// A new folder with `name` in its path.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn new(name: &str) -> Result<Folder> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("taffrail-{name}-"))
            .tempdir()
            .context("make a temporary folder")?;
        let path = folder.path().canonicalize().context("find the temporary folder")?;
        Ok(Folder { folder: Some(folder), path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it, made if it is missing.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn sub(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }

    /// Leaves the folder where it is when the value is dropped.
    pub fn keep(&mut self) {
        if let Some(folder) = self.folder.take() {
            let _ = folder.keep();
        }
    }

    /// The end of each log in it, oldest name first.
    pub fn logs(&self) -> String {
        let show = |path: PathBuf| format!("--- {}\n{}\n", path.display(), tail(&path, LOG_TAIL));
        logs(&self.path, DEPTH_MAX).into_iter().map(show).collect::<Vec<_>>().concat()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}the folder stays: {}", self.logs(), self.path.display());
            self.keep();
        }
    }
}

fn logs(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() && depth > 0 {
            found.extend(logs(&path, depth - 1));
        } else if path.extension().is_some_and(|end| end == "log") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The last lines of a file; empty if it cannot be read, since this is for errors.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_vanishes_and_its_logs_can_be_seen_before() {
        let folder = Folder::new("folder").unwrap();
        fs::write(folder.sub("hub").unwrap().join("hub.log"), "one\ntwo\n").unwrap();
        assert!(folder.logs().ends_with("hub.log\none\ntwo\n"), "{}", folder.logs());
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }
}
