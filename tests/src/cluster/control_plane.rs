//! A cluster: its parts in the order they need each other, ready when it answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

use super::block::Block;
use super::etcd::{Backup, Etcd};
use super::process::Process;
use super::programs::Programs;
use super::{files, nodes, ports};

/// How long a part may take to be ready: 2.5 s on an idle machine, and ten may start at once on two cores.
const START_LIMIT: Duration = Duration::from_mins(2);
/// How long one question to a starting server may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(5);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(25);

/// What a cluster consists of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name in the kubeconfig; `start_many` appends a number.
    pub name: String,
    /// Fake nodes, each with room for 1,000 pods. Zero leaves out scheduler, controllers and fake kubelets: a bare
    /// API server, in half the memory, where objects stay as they are written.
    pub nodes: u32,
    /// Addresses of a real node that comes later ([`super::Node`]); there are no fake ones beside it.
    pub real: Option<Block>,
    /// More flags for the API server, for instance `--feature-gates`.
    pub api_server_flags: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { name: "test".to_owned(), nodes: 1, real: None, api_server_flags: Vec::new() }
    }
}

impl Options {
    /// An API server and nothing that acts on objects.
    pub fn bare() -> Self {
        Self { nodes: 0, ..Self::default() }
    }

    fn is_bare(&self) -> bool {
        self.nodes == 0 && self.real.is_none()
    }
}

/// A running cluster. Dropping it ends all its processes and removes its folder.
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    port: u16,
    token: String,
    program: PathBuf,
    api_server: Option<Process>,
    others: Vec<Process>,
    etcd: Arc<Etcd>,
    folder: Option<TempDir>,
}

impl Cluster {
    /// Starts a cluster and waits until it answers and, when it has nodes, until pods can run. Fails with the end of
    /// the log of the part that did not come up, or with a word on `make setup` when a program is missing.
    pub async fn start(options: Options) -> Result<Self> {
        let etcd = Arc::new(Etcd::new(&Programs::find())?);
        Self::start_on(options, etcd).await
    }

    /// Starts `count` clusters at once over one etcd, which saves its memory; named `NAME-0`, `NAME-1` and so on.
    pub async fn start_many(count: usize, options: Options) -> Result<Vec<Self>> {
        let etcd = Arc::new(Etcd::new(&Programs::find())?);
        let named = |index| Options { name: format!("{}-{index}", options.name), ..options.clone() };
        try_join_all((0..count).map(|index| Self::start_on(named(index), Arc::clone(&etcd)))).await
    }

    /// The one cluster with default options that all tests of this process share; it ends with the process.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| Self::start(Options { name: "shared".to_owned(), ..Options::default() }))
            .await
    }

    /// The name in the kubeconfig.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Where its API server listens, on this machine alone.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A kubeconfig of an administrator, complete in itself.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.folder().join("kubeconfig")
    }

    /// A new client of the administrator. Each test makes its own, since a client ends with its runtime.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig_path()).context("read the kubeconfig")?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .context("understand the kubeconfig")?;
        Client::try_from(config).context("make a client")
    }

    /// The process groups of all parts, the shared etcd included; for tests of the ending itself.
    pub fn process_groups(&self) -> Vec<u32> {
        let own = self.api_server.iter().chain(&self.others).map(Process::id);
        own.chain(self.etcd.id()).collect()
    }

    /// Kills the API server as a power cut would. Everything else stays, and so does its data.
    pub fn kill_api_server(&mut self) {
        self.api_server = None;
    }

    /// Starts the API server again on the same port, with the same certificate, and waits until it answers.
    pub async fn start_api_server(&mut self) -> Result<()> {
        self.api_server = Some(self.spawn_api_server()?);
        self.wait_until_ready().await
    }

    /// Stops API server and etcd, copies what etcd has, and starts both again. The etcd must be this cluster's alone.
    pub async fn back_up(&mut self) -> Result<Backup> {
        self.kill_api_server();
        let etcd = self.own_etcd()?;
        etcd.stop();
        let backup = etcd.copy()?;
        etcd.start()?;
        self.start_api_server().await?;
        Ok(backup)
    }

    /// Puts a backup in the place of what etcd has, as an operator does: with API server and etcd stopped.
    pub async fn restore(&mut self, backup: &Backup) -> Result<()> {
        self.kill_api_server();
        let etcd = self.own_etcd()?;
        etcd.stop();
        etcd.replace(backup)?;
        etcd.start()?;
        self.start_api_server().await
    }

    fn own_etcd(&mut self) -> Result<&mut Etcd> {
        Arc::get_mut(&mut self.etcd).context("the etcd is shared with other clusters")
    }

    /// Ends all its processes and waits for them; the same as dropping it.
    pub fn stop(self) {
        drop(self);
    }

    async fn start_on(options: Options, etcd: Arc<Etcd>) -> Result<Self> {
        let programs = Programs::find();
        let folder = files::folder()?;
        let token = files::write_all(folder.path()).context("write the cluster's files")?;
        let mut cluster = Self {
            port: ports::free()?,
            program: programs.control_plane()?,
            options,
            token,
            api_server: None,
            others: Vec::new(),
            etcd,
            folder: Some(folder),
        };
        cluster.start_api_server().await?;
        let client = cluster.client().await?;
        if cluster.options.is_bare() {
            nodes::wait_for_default_namespace(&client, START_LIMIT).await?;
            return Ok(cluster);
        }
        cluster.start_others(&programs)?;
        let fakes = if cluster.options.real.is_some() { 0 } else { cluster.options.nodes };
        nodes::create(&client, fakes).await?;
        let usable = nodes::wait_until_usable(&client, fakes, START_LIMIT).await;
        for part in &mut cluster.others {
            part.check_running()?;
        }
        usable.map(|()| cluster)
    }

    fn spawn_api_server(&self) -> Result<Process> {
        let mut arguments: Vec<String> = [
            "kube-apiserver",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none", // an endpoint on the loopback is refused by the server itself
            "--cert-dir=certificates",
            "--authorization-mode=RBAC",
            "--token-auth-file=tokens.csv",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=accounts.pub",
            "--service-account-signing-key-file=accounts.key",
        ]
        .map(str::to_owned)
        .into();
        let services = self.options.real.map_or_else(|| "10.0.0.0/24".to_owned(), Block::services);
        arguments.push(format!("--service-cluster-ip-range={services}"));
        arguments.push(format!("--secure-port={}", self.port));
        arguments.push(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd.port()));
        arguments.push(format!("--etcd-prefix=/{}", self.options.name));
        if self.options.is_bare() {
            // Nobody makes service accounts here, and without one this plugin refuses every pod.
            arguments.push("--disable-admission-plugins=ServiceAccount".to_owned());
        }
        arguments.extend(self.options.api_server_flags.iter().cloned());
        Process::start(&self.program, self.folder(), "kube-apiserver", arguments)
    }

    fn start_others(&mut self, programs: &Programs) -> Result<()> {
        // Their rates are limited for the sake of large clusters; here they would only make tests slow.
        let common = [
            "--kubeconfig=kubeconfig",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ];
        let accounts = ["--service-account-private-key-file=accounts.key", "--root-ca-file=ca.crt"];
        let manager = ["kube-controller-manager"].into_iter().chain(common).chain(accounts);
        let scheduler = ["kube-scheduler"].into_iter().chain(common);
        let folder = self.folder();
        self.others = vec![
            Process::start(&self.program, folder, "kube-controller-manager", manager)?,
            Process::start(&self.program, folder, "kube-scheduler", scheduler)?,
        ];
        if self.options.real.is_some() {
            return Ok(());
        }
        let kwok = programs.kwok()?;
        let kwok = kwok.to_str().context("the cache folder's name is not UTF-8")?;
        let kubelets = [
            "run",
            kwok,
            "--kubeconfig=kubeconfig",
            "--manage-all-nodes=true",
            "--config=stages.yaml",
            "--cidr=10.128.0.0/14",
            "--node-lease-duration-seconds=40",
        ];
        let kubelets = Process::start(&self.program, self.folder(), "kwok", kubelets)?;
        self.others.push(kubelets);
        Ok(())
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        let mut client = None;
        loop {
            let server = self.api_server.as_mut().context("the API server was not started")?;
            server.check_running()?;
            if Instant::now() > deadline {
                bail!("the API server is not ready after {START_LIMIT:?}:\n{}", server.log_tail());
            }
            if client.is_none() && files::has_certificate(self.folder()) {
                files::write_kubeconfig(self.folder(), &self.options.name, self.port, &self.token)?;
                client = Some(self.client().await?);
            }
            if let Some(client) = &client
                && let Ok(Ok(answer)) = timeout(QUESTION_LIMIT, ask_ready(client)).await
                && answer == "ok"
            {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    fn folder(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), TempDir::path)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // All at once first: one by one, those that live would fill their logs with complaints about the dead.
        for part in self.api_server.iter().chain(&self.others) {
            part.kill();
        }
        self.api_server = None;
        self.others.clear();
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("the logs of cluster {} are in {}", self.options.name, folder.keep().display());
        }
    }
}

async fn ask_ready(client: &Client) -> Result<String> {
    let request = http::Request::get("/readyz").body(Vec::new())?;
    Ok(client.request_text(request).await?)
}
