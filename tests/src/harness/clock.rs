//! A wall clock of one process that is wrong, and can be set while it runs.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What answers instead of the system's clock.
const SOURCE: &str = include_str!("shift.c");

/// One process's clock. The monotonic clock stays as it is, as in life.
#[derive(Clone, Debug)]
pub struct ShiftedClock {
    library: PathBuf,
    file: PathBuf,
}

impl ShiftedClock {
    /// A clock that is right so far, with its files in `folder`.
    ///
    /// # Errors
    /// There is no C compiler, or the file system refuses.
    pub fn new(folder: &Path) -> Result<ShiftedClock> {
        let (source, library) = (folder.join("shift.c"), folder.join("shift.so"));
        fs::write(&source, SOURCE).context("write a clock")?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let made = compiler.output().context("start cc")?;
        ensure!(made.status.success(), "make a clock: {}", String::from_utf8_lossy(&made.stderr));
        let clock = ShiftedClock { library, file: folder.join("shift") };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it this many seconds ahead of the right time, or behind it.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn set(&self, ahead_seconds: i64) -> Result<()> {
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, ahead_seconds.to_string()).context("set a clock")?;
        fs::rename(&fresh, &self.file).context("set a clock")
    }

    /// What a process needs in its environment to go by it.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![("LD_PRELOAD", self.library.clone().into()), ("CLOCK_SHIFT_FILE", self.file.clone().into())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_goes_by_the_clock_that_was_set() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ShiftedClock::new(folder.path()).unwrap();
        let seconds = || {
            let asked = Command::new("date").arg("+%s").envs(clock.environment()).output().unwrap();
            String::from_utf8(asked.stdout).unwrap().trim().parse::<i64>().unwrap()
        };
        let right = seconds();
        clock.set(-86_400).unwrap();
        let wrong = seconds();
        assert!((right - wrong - 86_400).abs() < 60, "{wrong} and not a day before {right}");
    }
}
