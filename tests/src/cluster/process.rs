//! One child process in its own group, with a log file, that cannot outlive this process.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// Lines of the log that an error shows; the cause of a failed start stands at the end.
const LOG_TAIL: usize = 15;
/// Between two looks at a process that ends.
const PAUSE: Duration = Duration::from_millis(5);

/// A running part. Dropping it kills its whole group and waits for it.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `control-plane --ends-with-stdin ARGUMENTS...` in `folder` with nothing of our environment. The other end
    /// of its input is held until the part is dropped or this process is gone, however it dies.
    pub(super) fn start<A: AsRef<OsStr>>(
        control_plane: &Path,
        folder: &Path,
        name: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        let errors: File = out.try_clone().context("share the log file")?;
        let child = Command::new(control_plane)
            .arg("--ends-with-stdin")
            .args(arguments)
            .env_clear()
            .env("HOME", folder)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The process id, which is also that of its group.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of its log when the process has ended.
    pub(super) fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait().context("ask for the state of a child")? {
            None => Ok(()),
            Some(status) => {
                anyhow::bail!("{} ended with {status}:\n{}", self.name, self.log_tail())
            }
        }
    }

    /// The last lines of the log, for errors.
    pub(super) fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }

    /// Kills the group; what is left of it is collected when the value is dropped.
    pub(super) fn kill(&self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // A group that is gone already is what we want.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Lets it end by itself: its input ends, and it has time until `limit`. Whatever then still runs is killed.
    pub(super) fn end(mut self, limit: Duration) {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + limit;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(PAUSE);
        }
    }

    fn collect(&mut self) -> io::Result<()> {
        self.child.wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not after it was collected: the number of the group could be another's by then.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
        let _ = self.collect();
    }
}
