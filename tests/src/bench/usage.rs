//! Memory and CPU of processes, and the processes beside which an agent is measured.

use crate::harness::wait_for;
use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::reflector;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::time::Duration;

/// The first argument of a process that only stands beside.
pub const BESIDE: &str = "--beside";

/// Ticks of the kernel's CPU clock in one second, as Linux shows them to every process.
const TICKS: f64 = 100.0;

/// A field of `/proc/PID/status`, in KB.
pub(super) fn resident_kb(pid: u32, field: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("read a process's status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()).context("find the field")?;
    Ok(number.parse()?)
}

/// CPU time of a process so far, in milliseconds.
pub(super) fn cpu_ms(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read a process's times")?;
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th field after it.
    let (_, rest) = text.rsplit_once(')').context("find the end of the name")?;
    let field =
        |at: usize| -> Result<f64> { Ok(rest.split_whitespace().nth(at).context("find a time")?.parse()?) };
    Ok((field(11)? + field(12)?) * 1_000.0 / TICKS)
}

/// This program again, standing beside. It ends when it is dropped.
pub(super) struct Child {
    process: process::Child,
    ready: std::path::PathBuf,
}

impl Child {
    /// `bare`: connected, nothing kept. `reflector`: every object kept as it is.
    pub(super) fn start(what: &str, kubeconfig: &Path) -> Result<Child> {
        let ready = kubeconfig.with_extension(format!("{what}-ready"));
        let process = Command::new(std::env::current_exe()?)
            .args([BESIDE, what])
            .arg(kubeconfig)
            .arg(&ready)
            .stdin(Stdio::null())
            .spawn()
            .context("start a process beside")?;
        Ok(Child { process, ready })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) async fn ready(&self, bound: Duration) -> Result<()> {
        wait_for("the process beside is ready", bound, async || Ok(self.ready.exists().then_some(()))).await
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The process beside: what it is, its kubeconfig, and the file that says that it is ready.
///
/// # Errors
/// The API server cannot be reached.
pub async fn beside(arguments: &[String]) -> Result<()> {
    let [what, kubeconfig, ready] = arguments else { bail!("what, kubeconfig, ready") };
    let read = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    let maps: Api<ConfigMap> = Api::all(Client::try_from(config)?);
    if what == "bare" {
        maps.list_metadata(&ListParams::default().limit(1)).await?;
        std::fs::write(ready, "")?;
        std::future::pending::<()>().await;
    }
    let (store, writer) = reflector::store();
    let stream =
        watcher(maps, watcher::Config::default()).default_backoff().reflect(writer).applied_objects();
    tokio::spawn(stream.for_each(async |_| {}));
    store.wait_until_ready().await?;
    std::fs::write(ready, "")?;
    std::future::pending().await
}
