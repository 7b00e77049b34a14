//! The `taffrail` command as a person runs it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use super::process::command;
use super::programs::program;

/// Longest time for one command; above its own limits of waiting in tests.
const COMMAND_MAX: Duration = Duration::from_mins(6);

/// What a command wrote, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The command with one context file. Clones may run at the same time.
#[derive(Clone, Debug)]
pub struct Cli {
    program: PathBuf,
    context: PathBuf,
}

impl Cli {
    pub(super) fn find(context: &Path) -> Result<Cli> {
        Ok(Cli { program: program("taffrail")?, context: context.to_owned() })
    }

    fn command(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = command(&self.program);
        command.args(arguments).env("TAFFRAIL_CONFIG", &self.context).stdin(Stdio::null());
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        command
    }

    pub(super) async fn run(&self, arguments: &[&str]) -> Result<Output> {
        let output = timeout(COMMAND_MAX, self.command(arguments).output())
            .await
            .with_context(|| format!("taffrail {} did not end", arguments.join(" ")))?
            .context("start taffrail")?;
        Ok(Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).context("read what taffrail wrote")?,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    pub(super) async fn done(&self, arguments: &[&str]) -> Result<String> {
        let Output { code, stdout, stderr } = self.run(arguments).await?;
        ensure!(code == 0, "taffrail {} ended with {code}: {stdout}{stderr}", arguments.join(" "));
        Ok(stdout)
    }

    /// Runs `taffrail ARGUMENTS -o json` and reads what it wrote.
    ///
    /// # Errors
    /// It did not end with 0, or wrote no JSON.
    pub async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        let text = self.done(&all).await?;
        serde_json::from_str(&text).with_context(|| format!("read as JSON: {text}"))
    }

    pub(super) fn follow(&self, filter: &[&str]) -> Result<Feed> {
        let mut all = vec!["log", "--follow", "-n", "0", "-o", "json"];
        all.extend(filter);
        let mut child = self
            .command(&all)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start taffrail log")?;
        let stdout = child.stdout.take().context("take the output of taffrail log")?;
        Ok(Feed { lines: BufReader::new(stdout).lines(), _child: child })
    }
}

/// The events of the log as they come, from the first one; `taffrail log -f` behind it ends with the value.
#[derive(Debug)]
pub struct Feed {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Feed {
    /// The next event, as `taffrail log -o json` shows it. Nothing is lost if it is dropped before it is ready.
    ///
    /// # Errors
    /// The stream ended or is no JSON.
    pub async fn next(&mut self) -> Result<Value> {
        match self.lines.next_line().await.context("read taffrail log")? {
            Some(line) => serde_json::from_str(&line).with_context(|| format!("read as JSON: {line}")),
            None => bail!("taffrail log -f ended"),
        }
    }
}
