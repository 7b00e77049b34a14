//! A hub with its own NATS, as a process.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ring::hmac;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::cli::{Cli, Feed, Output};
use super::clock::ShiftedClock;
use super::process::{Plan, Process, command};
use super::programs::program;
use super::wait::wait_for;
use crate::cluster::{Programs, ports};

/// How long a hub may take to be ready: below 2 s on an idle machine, and suites run side by side on two cores.
const START_MAX: Duration = Duration::from_mins(1);
/// Longest time for one HTTP request.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// What the hub's webhooks are signed with.
const WEBHOOK_SECRET: &str = "a secret of the tests";

/// What a hub is started with beyond what makes it run here.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// Pause between looks at Git, at least 5 s. Tests announce their pushes and do not wait for it.
    pub poll: Duration,
    /// An address of this machine under which agents reach it that are not on this machine, such as pods.
    pub reach: Option<Ipv4Addr>,
    /// More settings by key; they win.
    pub set: Vec<(String, String)>,
    /// The clock that it goes by, if not by the right one.
    pub clock: Option<ShiftedClock>,
}

impl Default for HubOptions {
    fn default() -> HubOptions {
        HubOptions { poll: Duration::from_secs(5), reach: None, set: Vec::new(), clock: None }
    }
}

/// Where a hub answers over HTTPS, whether it runs or not. Clones may ask at the same time.
#[derive(Clone, Debug)]
pub struct Door {
    url: String,
    context: PathBuf,
}

/// A hub. Dropping it kills it and its NATS server.
#[derive(Debug)]
pub struct Hub {
    folder: PathBuf,
    door: Door,
    plan: Plan,
    process: Option<Process>,
    cli: Cli,
}

impl Hub {
    /// Starts a hub with its data in `folder` on free ports, and waits until it is ready.
    ///
    /// # Errors
    /// A program is missing, or the hub ended or was not ready within a minute; the error shows the end of its log.
    pub async fn start(folder: &Path, options: HubOptions) -> Result<Hub> {
        taffrail_runtime::tls::install_crypto();
        let programs = Programs::find();
        let port = ports::free()?;
        let secrets = folder.join("webhook-secrets");
        fs::write(&secrets, WEBHOOK_SECRET).context("write the webhook secret")?;
        fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600))
            .context("protect the webhook secret")?;
        let context = folder.join("context.yaml");
        // The first name goes into join manifests, and all go into the certificate.
        let (listen, names) = match options.reach {
            Some(address) => ("0.0.0.0", format!("{address},localhost,127.0.0.1")),
            None => ("127.0.0.1", "localhost,127.0.0.1".to_owned()),
        };
        let mut settings = vec![
            ("data.dir".to_owned(), folder.join("data").into_os_string()),
            ("listen.https".to_owned(), format!("{listen}:{port}").into()),
            ("advertise.https".to_owned(), names.into()),
            ("nats.listen".to_owned(), format!("{listen}:{}", ports::free()?).into()),
            ("nats.program".to_owned(), programs.nats_server()?.into_os_string()),
            ("render.kustomize".to_owned(), programs.kustomize()?.into_os_string()),
            ("git.poll".to_owned(), format!("{}s", options.poll.as_secs()).into()),
            ("git.webhook-secrets-file".to_owned(), secrets.into_os_string()),
            ("admin.context-file".to_owned(), context.clone().into_os_string()),
        ];
        for (key, value) in options.set {
            settings.retain(|(known, _)| *known != key);
            settings.push((key, value.into()));
        }
        let plan = Plan {
            name: "taffrail-hub".to_owned(),
            program: program("taffrail-hub")?,
            arguments: flags(settings),
            environment: options.clock.map(|clock| clock.environment()).unwrap_or_default(),
            log: folder.join("hub.log"),
            other_pid_file: Some(pid_file(folder)),
        };
        let url = format!("https://localhost:{port}");
        let cli = Cli::find(&context)?;
        let mut hub =
            Hub { folder: folder.to_owned(), door: Door { url, context }, plan, process: None, cli };
        hub.restart().await?;
        Ok(hub)
    }

    /// `https://localhost:PORT`.
    pub fn url(&self) -> &str {
        &self.door.url
    }

    /// Where it answers, for those who ask while it is killed and started.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// The command, for those who ask while it is killed and started.
    pub fn command(&self) -> Cli {
        self.cli.clone()
    }

    /// Its data folder.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The address at which it listens.
    ///
    /// # Errors
    /// It is not among its settings.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listens("listen.https=")
    }

    /// The address at which its NATS server listens.
    ///
    /// # Errors
    /// It is not among its settings.
    pub fn nats_address(&self) -> Result<SocketAddr> {
        self.listens("nats.listen=")
    }

    fn listens(&self, setting: &str) -> Result<SocketAddr> {
        let set = |it: &OsString| it.to_str()?.strip_prefix(setting).map(str::to_owned);
        let address = self.plan.arguments.iter().find_map(set);
        address.with_context(|| format!("{setting} is not set"))?.parse().context("read an address")
    }

    /// The administrator's context file, for `TAFFRAIL_CONFIG`.
    pub fn context_file(&self) -> PathBuf {
        self.door.context.clone()
    }

    /// What the hub wrote.
    pub fn log_file(&self) -> PathBuf {
        self.folder.join("hub.log")
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Kills the hub with SIGKILL; its NATS server goes on.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts the hub again with the same data and ports (after killing it, if it runs), and waits until it is ready.
    ///
    /// # Errors
    /// As at the start.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut process = self.plan.start()?;
        let ready = wait_for("the hub is ready", START_MAX, async || match process.check_running() {
            Err(ended) => Ok(Some(Err(ended))),
            Ok(()) => self.is_ready().await.map(|ready| ready.then_some(Ok(()))),
        });
        let ready = ready.await;
        ready.with_context(|| format!("start the hub, which wrote:\n{}", process.log_tail()))??;
        self.process = Some(process);
        Ok(())
    }

    /// Starts the hub and does not wait for it: one that only reads is never ready.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn begin(&mut self) -> Result<()> {
        self.kill();
        self.process = Some(self.plan.start()?);
        Ok(())
    }

    /// The folder with everything that it keeps.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Runs `taffrail-hub ARGUMENTS` with the settings of this hub, which must not run, and returns what it wrote.
    ///
    /// # Errors
    /// It did not end with 0.
    pub async fn program(&self, arguments: &[&str]) -> Result<String> {
        let mut command = command(&self.plan.program);
        command.args(arguments).args(&self.plan.arguments).stdin(Stdio::null());
        let output = tokio::process::Command::from(command).output().await.context("start taffrail-hub")?;
        let wrote = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "taffrail-hub {}: {wrote}", arguments.join(" "));
        String::from_utf8(output.stdout).context("read what taffrail-hub wrote")
    }

    /// Stops the hub with SIGTERM and waits until it has ended.
    ///
    /// # Errors
    /// It does not run, or did not end by itself.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.process.take().context("the hub does not run")?.stop().await
    }

    /// Process id of its NATS server, as its pid file says.
    ///
    /// # Errors
    /// There is none.
    pub fn nats_pid(&self) -> Result<u32> {
        let path = pid_file(&self.folder);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        text.trim().parse().with_context(|| format!("read a process id in {}", path.display()))
    }

    /// Kills its NATS server with SIGKILL; the hub starts it again.
    ///
    /// # Errors
    /// There is none.
    pub fn kill_nats(&self) -> Result<()> {
        let pid =
            i32::try_from(self.nats_pid()?).ok().and_then(Pid::from_raw).context("read a process id")?;
        kill_process(pid, Signal::KILL).context("kill nats-server")
    }

    /// Runs `taffrail ARGUMENTS` with its context, whatever comes out.
    ///
    /// # Errors
    /// The command cannot be run.
    pub async fn cli(&self, arguments: &[&str]) -> Result<Output> {
        self.cli.run(arguments).await
    }

    /// Runs `taffrail ARGUMENTS` and returns what it wrote.
    ///
    /// # Errors
    /// It did not end with 0; the error shows what it wrote.
    pub async fn done(&self, arguments: &[&str]) -> Result<String> {
        self.cli.done(arguments).await
    }

    /// Runs `taffrail ARGUMENTS -o json` and reads what it wrote.
    ///
    /// # Errors
    /// It did not end with 0, or wrote no JSON.
    pub async fn json(&self, arguments: &[&str]) -> Result<Value> {
        self.cli.json(arguments).await
    }

    /// All events that `taffrail log` shows with these filters (such as `["--kind", "RenderFailed"]`), oldest first.
    ///
    /// # Errors
    /// The hub cannot be asked.
    pub async fn events(&self, filter: &[&str]) -> Result<Vec<Value>> {
        let mut all = vec!["log", "-n", "0"];
        all.extend(filter);
        let mut list = self.json(&all).await?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("taffrail log -o json has no items"),
        }
    }

    /// All events that `taffrail log -f` shows with these filters, and the new ones as they come.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn follow(&self, filter: &[&str]) -> Result<Feed> {
        self.cli.follow(filter)
    }

    /// Sends `body` to the webhook, rightly signed; returns the HTTP status.
    ///
    /// # Errors
    /// The hub does not answer.
    pub async fn webhook(&self, body: &str) -> Result<u16> {
        self.door.webhook(body).await
    }

    /// Sends `body` to the webhook with any signature; returns the HTTP status.
    ///
    /// # Errors
    /// The hub does not answer.
    pub async fn webhook_signed(&self, body: &str, signature: &str) -> Result<u16> {
        self.door.webhook_signed(body, signature).await
    }

    /// Tells the hub by webhook that `repository` changed, as a Git host does after a push.
    ///
    /// # Errors
    /// The hub does not take it.
    pub async fn announce(&self, repository: &str) -> Result<()> {
        self.door.announce(repository).await
    }

    /// Gets a path over HTTPS, such as `/readyz?verbose`; returns status and body.
    ///
    /// # Errors
    /// The hub does not answer.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        self.door.get(path).await
    }

    async fn is_ready(&self) -> Result<bool> {
        let (status, text) = self.get("/readyz?verbose").await?;
        ensure!(status == 200, "the hub is not ready: {text}");
        Ok(true)
    }
}

impl Door {
    async fn webhook(&self, body: &str) -> Result<u16> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, WEBHOOK_SECRET.as_bytes());
        let tag = hmac::sign(&key, body.as_bytes());
        let mut signature = "sha256=".to_owned();
        for byte in tag.as_ref() {
            write!(signature, "{byte:02x}").context("write to a string")?;
        }
        self.webhook_signed(body, &signature).await
    }

    async fn webhook_signed(&self, body: &str, signature: &str) -> Result<u16> {
        let request = self.http()?.post(format!("{}/hooks/git", self.url));
        let request = request.header("x-hub-signature-256", signature).body(body.to_owned());
        Ok(request.send().await.context("send a webhook")?.status().as_u16())
    }

    /// Tells the hub by webhook that `repository` changed, as a Git host does after a push.
    ///
    /// # Errors
    /// The hub does not take it.
    pub async fn announce(&self, repository: &str) -> Result<()> {
        let status = self.webhook(&json!({"repository": {"clone_url": repository}}).to_string()).await?;
        ensure!((200..300).contains(&status), "the hub answered a webhook with {status}");
        Ok(())
    }

    /// Gets a path over HTTPS, such as `/readyz?verbose`; returns status and body.
    ///
    /// # Errors
    /// The hub does not answer.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        let answer = self.http()?.get(format!("{}{path}", self.url)).send().await.context("ask the hub")?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await.context("read the hub's answer")?))
    }

    fn http(&self) -> Result<reqwest::Client> {
        let path = &self.context;
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let context: Value = serde_saphyr::from_str(&text).context("read the context file")?;
        let pem = context["contexts"][0]["ca"].as_str().context("the context file has no certificate")?;
        let certificate = reqwest::Certificate::from_pem(pem.as_bytes()).context("read the certificate")?;
        let builder =
            reqwest::Client::builder().tls_certs_only([certificate]).timeout(REQUEST_MAX).no_proxy();
        builder.build().context("make an HTTP client")
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.kill();
        // The server is in a group of its own, so that it can outlive its hub.
        if self.nats_pid().is_ok_and(|pid| is_ours(pid, &self.folder)) {
            let _ = self.kill_nats();
        }
    }
}

/// Whether the process was started with a file of our folder; a number may be another's by now.
fn is_ours(pid: u32, folder: &Path) -> bool {
    match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).contains(&*folder.to_string_lossy()),
        Err(_) => !Path::new("/proc/self").exists(),
    }
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("data/nats/nats-server.pid")
}

/// `--set KEY=VALUE` for each setting.
pub(super) fn flags(settings: Vec<(String, OsString)>) -> Vec<OsString> {
    let flag = |(key, value): (String, OsString)| {
        let mut setting = OsString::from(key);
        setting.push("=");
        setting.push(value);
        [OsString::from("--set"), setting]
    };
    settings.into_iter().flat_map(flag).collect()
}
