//! One of our programs as a process group that cannot outlive this process.

use std::env;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::folder::tail;
use super::wait::wait_for;

/// Lines of the log that an error shows.
const LOG_TAIL: usize = 20;
/// Longest time that a process may take to end after SIGTERM: its own grace is 25 s.
const END_MAX: Duration = Duration::from_secs(35);
/// Waits for the end of its input, which this process holds, then kills a group and whoever a pid file names.
const GUARD: &str = r#"cat >/dev/null; kill -s KILL -- "-$1"; [ -z "$2" ] || kill -s KILL "$(cat "$2")""#;

/// How a process is started, again and again.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Its name in errors.
    pub(super) name: String,
    /// The program.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) arguments: Vec<OsString>,
    /// What it has in its environment beside ours.
    pub(super) environment: Vec<(&'static str, OsString)>,
    /// Where its output goes; appended.
    pub(super) log: PathBuf,
    /// File with the id of a process in another group that must end with this one.
    pub(super) other_pid_file: Option<PathBuf>,
}

/// A running process. Dropping it kills its group.
#[derive(Debug)]
pub(super) struct Process {
    plan: Plan,
    child: Child,
    guard: Child,
}

impl Plan {
    /// Starts it.
    pub(super) fn start(&self) -> Result<Process> {
        let failed = || format!("start {}", self.name);
        let out = OpenOptions::new().create(true).append(true).open(&self.log);
        let out = out.with_context(|| format!("open {}", self.log.display()))?;
        let child = command(&self.program)
            .args(&self.arguments)
            .envs(self.environment.clone())
            .stdin(Stdio::null())
            .stdout(out.try_clone().with_context(failed)?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(failed)?;
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard", &child.id().to_string()]);
        guard.arg(self.other_pid_file.as_deref().unwrap_or(Path::new("")));
        let guard = guard
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(failed)?;
        Ok(Process { plan: self.clone(), child, guard })
    }
}

impl Process {
    /// Its process id, which is also that of its group.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("ask for the state of a child")
    }

    /// An error with the end of its log if it has ended.
    pub(super) fn check_running(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}:\n{}", self.plan.name, self.log_tail()),
        }
    }

    /// The last lines of its output.
    pub(super) fn log_tail(&self) -> String {
        tail(&self.plan.log, LOG_TAIL)
    }

    /// Asks it to end and waits until it has; an error if it had to be killed.
    pub(super) async fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        let name = self.plan.name.clone();
        wait_for(&format!("{name} ends after SIGTERM"), END_MAX, async || self.ended()).await
    }

    fn signal(&mut self, signal: Signal) {
        // Not after it was collected: the number of the group could be another's by then.
        if matches!(self.child.try_wait(), Ok(None))
            && let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process_group(group, signal); // a group that is gone already is what we want
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A command with our environment, but none of Taffrail's own settings, and no proxy for this machine.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("TAFFRAIL_") {
            command.env_remove(name);
        }
    }
    for name in ["NO_PROXY", "no_proxy"] {
        let mut hosts = OsString::from("localhost,127.0.0.1");
        if let Some(more) = env::var_os(name) {
            hosts.push(",");
            hosts.push(more);
        }
        command.env(name, hosts);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_dies_takes_its_processes_along() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other.pid");
        let plan = Plan {
            name: "part".into(),
            program: "/bin/sh".into(),
            environment: Vec::new(),
            arguments: vec![
                "-c".into(),
                format!("set -m; sleep 1000 & echo $! >{}; wait", other.display()).into(),
            ],
            log: folder.path().join("part.log"),
            other_pid_file: Some(other.clone()),
        };
        let mut process = plan.start().unwrap();
        let pid = async || Ok(std::fs::read_to_string(&other).ok().and_then(|text| text.trim().parse().ok()));
        let pid = wait_for("the other process", END_MAX, pid).await.unwrap();
        drop(process.guard.stdin.take()); // what the end of this process would do
        wait_for("the process is gone", END_MAX, async || process.ended()).await.unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        let gone = async || Ok(rustix::process::test_kill_process(pid).is_err().then_some(()));
        wait_for("the other process is gone", END_MAX, gone).await.unwrap();
    }

    #[tokio::test]
    async fn a_process_is_asked_to_end_or_killed_and_says_why_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let plan = |script: &str| Plan {
            name: "part".into(),
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: Vec::new(),
            log: folder.path().join("part.log"),
            other_pid_file: None,
        };
        let running = plan("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done").start().unwrap();
        wait_for("ready", END_MAX, async || Ok(running.log_tail().contains("ready").then_some(())))
            .await
            .unwrap();
        assert_eq!(running.stop().await.unwrap().code(), Some(7));

        let mut failing = plan("echo the cause; exit 3").start().unwrap();
        let error = wait_for("its end", END_MAX, async || Ok(failing.check_running().err())).await.unwrap();
        assert!(error.to_string().ends_with("the cause"), "{error}");

        let group = plan("sleep 1000 & sleep 1000").start().unwrap();
        let id = i32::try_from(group.id()).ok().and_then(Pid::from_raw).unwrap();
        drop(group);
        let gone = async || Ok(rustix::process::test_kill_process_group(id).is_err().then_some(()));
        wait_for("the group is gone", END_MAX, gone).await.unwrap();
    }
}
