//! Runs a renderer as a child: no environment, limits on everything, killed with all that it started.

use std::{ffi::OsString, io, path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

use super::{Error, Jail, Reason, Settings};

/// Longest message that is read from a child, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What a child gave.
pub(super) struct Output {
    pub(super) is_success: bool,
    /// Ended by a signal, which is how limits end a process.
    pub(super) is_killed: bool,
    pub(super) text: Vec<u8>,
    pub(super) message: Vec<u8>,
}

/// Kills the whole group of a child when dropped, so that nothing outlives a render.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // The group may be gone already, which is what is wanted.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Runs the renderer with `arguments`; it may read the folder `root` only.
pub(super) async fn run(settings: &Settings, arguments: &[OsString], root: &Path) -> Result<Output, Error> {
    let program = settings.kustomize.display().to_string();
    let machine = |action: &str, error: io::Error| {
        Error::new(Reason::Machine, "", format!("{action} {program}: {error}"))
    };
    let mut command = match &settings.jail {
        Jail::Program(hub) => {
            let mut command = Command::new(hub);
            command.args(super::jail::arguments(settings, root));
            command
        }
        Jail::Off => Command::new(&settings.kustomize),
    };
    command
        .args(arguments)
        .env_clear()
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| machine("start", error))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let _group = Group(pid);
    if matches!(settings.jail, Jail::Off) {
        limit(pid, settings).map_err(|error| machine("limit", error))?;
    }
    let limit = settings.time_limit;
    match tokio::time::timeout(limit, finish(&mut child, settings.output_bytes_max)).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(Stopped::Io(error))) => Err(machine("read from", error)),
        Ok(Err(Stopped::TooLong)) => {
            let cause = format!("the renderer printed more than {} bytes", settings.output_bytes_max);
            Err(Error::new(Reason::Limit, "", cause))
        }
        Err(_) => {
            Err(Error::new(Reason::Limit, "", format!("the renderer ran longer than {}", shown(limit))))
        }
    }
}

fn shown(limit: Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}

enum Stopped {
    Io(io::Error),
    TooLong,
}

async fn finish(child: &mut Child, output_bytes_max: usize) -> Result<Output, Stopped> {
    let pipe = || Stopped::Io(io::Error::other("no pipe"));
    let stdout = child.stdout.take().ok_or_else(pipe)?;
    let stderr = child.stderr.take().ok_or_else(pipe)?;
    // Whoever holds the pipe counts, not only the first process: what it started must be done too.
    let (text, message) = tokio::try_join!(drain(stdout, output_bytes_max), async {
        match drain(stderr, MESSAGE_BYTES_MAX).await {
            Err(Stopped::TooLong) => Ok(b"more messages than fit".to_vec()),
            other => other,
        }
    })?;
    let status = child.wait().await.map_err(Stopped::Io)?;
    Ok(Output { is_success: status.success(), is_killed: status.code().is_none(), text, message })
}

async fn drain(pipe: impl AsyncRead + Unpin, max: usize) -> Result<Vec<u8>, Stopped> {
    let mut bytes = Vec::new();
    let more = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    pipe.take(more).read_to_end(&mut bytes).await.map_err(Stopped::Io)?;
    if bytes.len() > max { Err(Stopped::TooLong) } else { Ok(bytes) }
}

/// Limits of a child that has no jail around it.
fn limit(pid: Option<Pid>, settings: &Settings) -> io::Result<()> {
    for (resource, value) in limits(settings.memory_bytes_max, settings.time_limit.as_secs()) {
        match prlimit(pid, resource, Rlimit { current: Some(value), maximum: Some(value) }) {
            // A child that is done already needs no limits.
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The limits of a renderer process.
pub(super) fn limits(memory_bytes: u64, cpu_seconds: u64) -> [(Resource, u64); 5] {
    [
        (Resource::Data, memory_bytes),
        (Resource::Cpu, cpu_seconds.max(1)),
        (Resource::Core, 0),
        // It writes to its pipes only.
        (Resource::Fsize, 0),
        (Resource::Nofile, 1_024),
    ]
}
