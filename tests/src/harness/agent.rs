//! Joining, and an agent as a process.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::clock::ShiftedClock;
use super::hub::{Hub, flags};
use super::process::{Plan, Process};
use super::programs::program;
use super::wait::wait_for;
use crate::cluster::ports;

/// Longest time for one question to an agent's probes.
const PROBE_MAX: Duration = Duration::from_secs(5);
/// Longest time until an agent has credentials.
const JOIN_MAX: Duration = Duration::from_mins(1);

/// What a cluster joins with.
#[derive(Clone)]
pub struct JoinToken {
    /// The one-time token.
    pub token: String,
    /// Certificate authority of the hub, PEM.
    pub ca_pem: String,
    /// The whole YAML of `taffrail cluster join`.
    pub yaml: String,
}

/// Invites a cluster with `taffrail cluster join` and takes token and authority out of the YAML.
///
/// # Errors
/// The hub refuses, or the YAML has no such Secret.
pub async fn join(hub: &Hub, name: &str, labels: &[(&str, &str)]) -> Result<JoinToken> {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut arguments = vec!["cluster", "join", name];
    for label in &labels {
        arguments.extend(["--label", label.as_str()]);
    }
    let yaml = hub.done(&arguments).await?;
    let data = yaml
        .split("\n---\n")
        .filter_map(|text| serde_saphyr::from_str::<Value>(text).ok())
        .find(|object| object["kind"] == "Secret" && !object["stringData"]["token"].is_null())
        .map(|mut object| object["stringData"].take())
        .context("find the Secret with the token in the YAML of taffrail cluster join")?;
    let text =
        |key: &str| String::deserialize(&data[key]).with_context(|| format!("read {key} of the Secret"));
    Ok(JoinToken { token: text("token")?, ca_pem: text("ca.crt")?, yaml })
}

/// What an agent is started with beyond what makes it run here.
#[derive(Clone, Debug, Default)]
pub struct AgentOptions {
    /// More settings by key; they win.
    pub set: Vec<(String, String)>,
    /// The clock that it goes by, if not by the right one.
    pub clock: Option<ShiftedClock>,
}

/// An agent. Dropping it kills it.
#[derive(Debug)]
pub struct Agent {
    folder: PathBuf,
    probes: String,
    plan: Plan,
    process: Option<Process>,
}

impl Agent {
    /// Starts an agent for the cluster of `kubeconfig` with its state in `folder`, and does not wait for it.
    ///
    /// # Errors
    /// A program is missing, or the file system refuses.
    pub fn start(folder: &Path, kubeconfig: &Path, hub: &Hub, token: &JoinToken) -> Result<Agent> {
        Agent::start_with(folder, kubeconfig, hub, token, AgentOptions::default())
    }

    /// The same with more settings.
    ///
    /// # Errors
    /// A program is missing, or the file system refuses.
    pub fn start_with(
        folder: &Path,
        kubeconfig: &Path,
        hub: &Hub,
        token: &JoinToken,
        options: AgentOptions,
    ) -> Result<Agent> {
        let (token_file, ca_file) = (folder.join("token"), folder.join("hub-ca.crt"));
        fs::write(&ca_file, &token.ca_pem).context("write the hub's authority")?;
        fs::write(&token_file, &token.token).context("write the token")?;
        fs::set_permissions(&token_file, fs::Permissions::from_mode(0o600)).context("protect the token")?;
        let probes = format!("127.0.0.1:{}", ports::free()?);
        let mut settings = vec![
            ("kube.config-file".to_owned(), kubeconfig.as_os_str().to_owned()),
            ("hub.url".to_owned(), hub.url().into()),
            ("hub.ca-file".to_owned(), ca_file.into_os_string()),
            ("join.token-file".to_owned(), token_file.into_os_string()),
            ("state.dir".to_owned(), folder.join("state").into_os_string()),
            ("listen.probes".to_owned(), OsString::from(&probes)),
        ];
        for (key, value) in options.set {
            settings.retain(|(known, _)| *known != key);
            settings.push((key, value.into()));
        }
        let plan = Plan {
            name: "taffrail-agent".to_owned(),
            program: program("taffrail-agent")?,
            arguments: flags(settings),
            environment: options.clock.map(|clock| clock.environment()).unwrap_or_default(),
            log: folder.join("agent.log"),
            other_pid_file: None,
        };
        let mut agent = Agent { folder: folder.to_owned(), probes, plan, process: None };
        agent.restart()?;
        Ok(agent)
    }

    /// Its journal and keys.
    pub fn state_folder(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// What the agent wrote.
    pub fn log_file(&self) -> PathBuf {
        self.folder.join("agent.log")
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again with the same state (after killing it, if it runs).
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.process = Some(self.plan.start()?);
        Ok(())
    }

    /// Stops it with SIGTERM and waits until it has ended.
    ///
    /// # Errors
    /// It does not run, or did not end by itself.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.process.take().context("the agent does not run")?.stop().await
    }

    /// Has it reach NATS at another address from now on, as if the network in between were another one: waits until it
    /// has joined, and starts it again.
    ///
    /// # Errors
    /// It did not join.
    pub async fn reroute(&mut self, nats: SocketAddr) -> Result<()> {
        let path = self.state_folder().join("identity.json");
        let joined = wait_for("the agent has joined", JOIN_MAX, async || {
            let text = fs::read_to_string(&path).context("read the identity")?;
            let kept: Value = serde_json::from_str(&text).context("read the identity")?;
            Ok((!kept["joined"].is_null()).then_some(kept))
        });
        let mut kept = joined.await?;
        self.stop().await?;
        kept["joined"]["nats_urls"] = json!([format!("tls://localhost:{}", nats.port())]);
        fs::write(&path, kept.to_string()).context("write the identity")?;
        self.restart()
    }

    /// A number of its `/metrics`, such as `events`.
    ///
    /// # Errors
    /// It does not answer, or has no such number.
    pub async fn metric(&self, name: &str) -> Result<u64> {
        let url = format!("http://{}/metrics", self.probes);
        let client = reqwest::Client::builder().timeout(PROBE_MAX).no_proxy().build()?;
        let text = client.get(&url).send().await?.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("taffrail_agent_{name} ")));
        line.context("there is no such metric")?.parse().context("read a metric")
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.as_mut().map_or(Ok(None), Process::ended)
    }

    /// Waits until `/readyz` says that it is ready, which it is once it holds an index.
    ///
    /// # Errors
    /// It ended, or was not ready in time; the error shows the end of its log.
    pub async fn ready(&mut self, bound: Duration) -> Result<()> {
        let url = format!("http://{}/readyz", self.probes);
        let client = reqwest::Client::builder().timeout(PROBE_MAX).no_proxy().build()?;
        let process = self.process.as_mut().context("the agent does not run")?;
        let ready = wait_for("the agent is ready", bound, async || {
            if let Err(ended) = process.check_running() {
                return Ok(Some(Err(ended)));
            }
            let answer = client.get(&url).send().await?;
            ensure!(answer.status() == 200, "the agent is not ready: {}", answer.text().await?);
            Ok(Some(Ok(())))
        })
        .await;
        ready.with_context(|| format!("the agent wrote:\n{}", process.log_tail()))?
    }
}
