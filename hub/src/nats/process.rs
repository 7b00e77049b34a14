//! One nats-server process, started here or left over from before.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, kill_process, test_kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::Error;

pub(super) use rustix::process::Signal;

/// How long a server may take to end after SIGTERM, and again after SIGKILL.
const END_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks at a process that is not our child.
const LOOK: Duration = Duration::from_millis(50);
/// How long a listening server may take for its first line.
const INFO_WAIT: Duration = Duration::from_secs(2);
/// Longest first line of a server, in bytes; with many cluster routes it is about 4 KiB.
const INFO_MAX: u64 = 64 * 1024;

/// A process and what is known of it.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    child: Option<Child>,
    arguments: String,
}

impl Process {
    /// A child of this process.
    pub(super) fn child(child: Child) -> Process {
        Process { pid: child.id().unwrap_or_default(), child: Some(child), arguments: String::new() }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the process was started with this configuration file.
    pub(super) fn runs_with(&self, configuration: &Path) -> bool {
        configuration.to_str().is_some_and(|path| self.arguments.split(['\0', ' ']).any(|word| word == path))
    }

    pub(super) fn has_ended(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => !is_alive(self.pid),
        }
    }

    /// Returns once the process has ended.
    pub(super) async fn ended(&mut self) {
        if let Some(child) = &mut self.child
            && child.wait().await.is_ok()
        {
            return;
        }
        while !self.has_ended() {
            sleep(LOOK).await;
        }
    }

    /// Asks the process to end, and kills it if it does not within 10 s.
    pub(super) async fn end(mut self) -> Result<(), Error> {
        for order in [Signal::TERM, Signal::KILL] {
            signal(self.pid, order);
            if timeout(END_MAX, self.ended()).await.is_ok() {
                return Ok(());
            }
        }
        Err(Error::Immortal { pid: self.pid })
    }
}

/// Sends a signal; a process that is gone is no error.
pub(super) fn signal(pid: u32, order: Signal) {
    if let Some(pid) = known(pid) {
        let _ = kill_process(pid, order);
    }
}

/// The nats-server that a pid file names, if it is still there and is one that was started in `directory`.
pub(super) async fn left_over(pid_file: &Path, directory: &Path) -> Option<Process> {
    let pid: u32 = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    if !is_alive(pid) {
        return None;
    }
    let arguments = arguments(pid).await?;
    let ours: PathBuf = directory.join("nats-server-");
    arguments.contains(ours.to_str()?).then_some(Process { pid, child: None, arguments })
}

/// The first line of a server, read as JSON; `None` if nobody speaks NATS there.
pub(super) async fn info(host: &str, port: u16) -> Option<Value> {
    let read = async {
        let stream = TcpStream::connect((host, port)).await.ok()?;
        let mut line = String::new();
        BufReader::new(stream.take(INFO_MAX)).read_line(&mut line).await.ok()?;
        serde_json::from_str(line.strip_prefix("INFO ")?.trim()).ok()
    };
    let until = Instant::now() + INFO_WAIT;
    tokio::time::timeout_at(until, read).await.ok().flatten()
}

/// The arguments of a process, with zero bytes or blanks between them.
async fn arguments(pid: u32) -> Option<String> {
    if let Ok(bytes) = std::fs::read(format!("/proc/{pid}/cmdline")) {
        return Some(String::from_utf8_lossy(&bytes).into_owned());
    }
    let output = tokio::process::Command::new("ps")
        .args(["-o", "command=", "-p", &pid.to_string()])
        .output()
        .await
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether the process exists and is more than an entry that waits for its parent.
fn is_alive(pid: u32) -> bool {
    if known(pid).is_none_or(|pid| test_kill_process(pid).is_err()) {
        return false;
    }
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let letter = state
        .as_deref()
        .and_then(|stat| stat.rsplit_once(')'))
        .and_then(|(_, rest)| rest.trim().chars().next());
    letter != Some('Z')
}

fn known(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
