//! Wiring: ports built, listener bound first, tasks supervised, shutdown in order.

use crate::administrators;
use crate::api::http::{Served, router};
use crate::api::serve;
use crate::bus::{self, Bus, Ensured};
use crate::config::{Config, NatsServer};
use crate::driver::{Driver, Handle, replay_known, wall};
use crate::fleet::{Admit, FleetService, Settings as FleetSettings};
use crate::git::Secret;
use crate::git::remote::Limits;
use crate::git::url::FileUrls;
use crate::hook::Notices;
use crate::log::{Log, Rocks};
use crate::metrics::Metrics;
use crate::nats::accounts::{Accounts, Cluster};
use crate::nats::keys::Keys;
use crate::nats::managed::{Managed, Settings as NatsSettings, TlsFiles};
use crate::perform::{Mirrors, Perform, Tools, Vault, Watch, collect, ingest};
use crate::render::{Jail, Renderer, Settings as RenderSettings};
use crate::restore;
use crate::tls::{Authority, Material};
use anyhow::Context as _;
use futures::StreamExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use taffrail_core::id::AccountKey;
use taffrail_core::node::hub::{Hub, Input, Settings};
use taffrail_core::time::Span;
use taffrail_proto::sign::PublicKey;
use taffrail_runtime::nats::{Connection, First, Options, Tls, connect};
use taffrail_runtime::supervise::{Kind, Stage, Supervisor};
use taffrail_runtime::{secret, shutdown, telemetry, tls};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How often certificate files are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(30);

/// Most that streams may take on disk: indexes and bundles of some thousand apps, 8 GiB.
const STREAMS_BYTES_MAX: u64 = 8 << 30;

/// Prints text to standard output.
#[expect(clippy::print_stdout, reason = "the one place where the hub's program talks to a terminal")]
pub fn say(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

/// Prints what is wrong to standard error.
pub fn complain(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// Runs the hub until a signal.
pub fn blocking(config: Config) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("start the async runtime: {error}")),
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("taffrail-hub: {error:#}")),
    }
}

/// Begins a new epoch over the log of a hub that does not run.
pub fn restoring(config: &Config, key: &Path) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("start the async runtime: {error}")),
    };
    match runtime.block_on(restore::restore(config, key)) {
        Ok(said) => say(&said),
        Err(error) => complain(&format!("taffrail-hub: {error:#}")),
    }
}

/// The state of a hub that was opened, before anything runs.
struct Opened {
    log: Arc<dyn Log>,
    hub: Hub,
    epoch: u64,
    /// Public half of the offline key, if the log does not name it yet.
    offline: Option<PublicKey>,
    vault: Arc<Vault>,
    keys: Arc<Keys>,
    material: Material,
    authority: Option<Arc<Authority>>,
}

/// Runs the hub until a signal or until a task ends early.
///
/// # Errors
/// What kept it from starting, or the task that ended early.
pub async fn run(config: Config) -> anyhow::Result<()> {
    tls::install_crypto();
    let telemetry = telemetry::install(&telemetry::Settings {
        service: "taffrail-hub",
        version: VERSION,
        format: config.log_format,
        filter: config.log_filter.clone(),
        otlp: config.otlp.clone(),
    })?;
    let stop = CancellationToken::new();
    shutdown::listen(stop.clone(), config.grace).context("listen for signals")?;
    let outcome = serve_until(&config, stop).await;
    telemetry.flush().await;
    outcome
}

async fn serve_until(config: &Config, stop: CancellationToken) -> anyhow::Result<()> {
    secret::make_folder(&config.data_dir)?;
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("listen at {}", config.listen))?;
    let opened = open(config, &stop).await?;
    let mut supervisor = Supervisor::new(stop);
    let mut certificates = opened.material.shown.changes();
    let managed = wire(config, opened, listener, &mut supervisor).await?;
    tracing::info!(url = config.url, version = VERSION, "hub serves");
    let reloading = async {
        while certificates.changed().await.is_ok() {
            managed.iter().for_each(Managed::reload);
        }
        std::future::pending().await
    };
    let outcome = tokio::select! {
        outcome = supervisor.run() => outcome,
        outcome = reloading => outcome,
    };
    if let Some(managed) = managed {
        managed.stop().await;
    }
    outcome.map_err(Into::into)
}

/// Opens log and keys, and folds the log.
async fn open(config: &Config, stop: &CancellationToken) -> anyhow::Result<Opened> {
    let folder = config.data_dir.join("log");
    let fatal = stop.clone();
    let log = Rocks::open(
        &folder,
        config.reserve_bytes,
        Box::new(move |error| {
            tracing::error!(error = telemetry::chain(error), "log failed, stopping");
            fatal.cancel();
        }),
    )?;
    let log: Arc<dyn Log> = Arc::new(log);
    let folding = log.clone();
    let (durable, newer) = tokio::task::spawn_blocking(move || replay_known(&*folding)).await??;
    if let Some(newer) = &newer {
        tracing::error!(%newer, "a newer version wrote the log, this hub only reads");
    }
    let epoch = restore::epoch_file(&config.data_dir, &durable)?;
    let offline = restore::offline_key(&config.data_dir, &durable)?;
    tracing::info!(events = durable.index, epoch, "log folded");
    let hub = Hub::new(durable, Settings { lease: span(config.lease) }).before(newer);
    let vault = Arc::new(Vault::open(&config.data_dir)?);
    let keys_folder = config.data_dir.join("nats-keys");
    let keys = match &config.nats.server {
        NatsServer::Managed { .. } => Keys::open(&keys_folder)?,
        NatsServer::Outside { operator_key_file, system_creds_file, .. } => {
            Keys::bootstrap(&keys_folder, operator_key_file, system_creds_file)?
        }
    };
    let (material, authority) = certificates(config)?;
    Ok(Opened { log, hub, epoch, offline, vault, keys: Arc::new(keys), material, authority })
}

fn span(time: Duration) -> Span {
    Span(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn certificates(config: &Config) -> anyhow::Result<(Material, Option<Arc<Authority>>)> {
    if let Some(own) = &config.tls {
        return Ok((Material::own(own)?, None));
    }
    let authority = Authority::open(&config.data_dir.join("tls"), &config.names, wall())?;
    Ok((Material::built_in(&authority, wall())?, Some(Arc::new(authority))))
}

/// What the tasks of a running hub share.
struct Parts {
    tools: Arc<Tools>,
    handle: Handle,
    looks: Arc<Watch>,
    shown: watch::Receiver<u64>,
    keys: Arc<Keys>,
    material: Material,
}

/// Builds every part and starts every task.
async fn wire(
    config: &Config,
    opened: Opened,
    listener: TcpListener,
    supervisor: &mut Supervisor,
) -> anyhow::Result<Option<Managed>> {
    let Opened { log, hub, epoch, offline, vault, keys, material, authority } = opened;
    let accounts_known: Vec<AccountKey> = hub.state().clusters.accounts.keys().cloned().collect();
    let (managed, accounts, bus) = messaging(config, &keys, &material).await?;
    let (driver, handle, shown) = Driver::new(hub, log.clone());
    let (tracks, followed) = watch::channel(BTreeSet::new());
    let renderer = Arc::new(Renderer::new(rendering(config)?));
    let mirrors = Arc::new(mirrors(config));
    let tools = Arc::new(Tools { log, bus, accounts, vault, mirrors, renderer, tracks });
    let looks = Arc::new(Watch::new(handle.clone(), tools.mirrors.clone(), followed));
    let perform = Perform::new(tools.clone(), handle.clone(), TaskTracker::new());
    let parts = Parts { tools, handle, looks, shown, keys, material };
    core_tasks(supervisor, driver, perform);
    start_task(supervisor, &parts, accounts_known, epoch, offline);
    git_tasks(supervisor, config, &parts);
    bus_tasks(supervisor, &parts);
    certificate_tasks(supervisor, &parts.material, authority);
    let served = served(config, &parts, supervisor)?;
    serve_https(served, &parts.material, listener, supervisor).await?;
    Ok(managed)
}

fn mirrors(config: &Config) -> Mirrors {
    let files = if config.git.allow_file { FileUrls::Allowed } else { FileUrls::Refused };
    let limits = Limits { fetch: config.git.fetch_timeout, ..Limits::default() };
    Mirrors::new(config.data_dir.join("mirrors"), files, limits)
}

/// The API, the webhook, joining and metrics: what answers on the one port.
fn served(config: &Config, parts: &Parts, supervisor: &mut Supervisor) -> anyhow::Result<Served> {
    let Parts { tools, handle, looks, shown, keys, material } = parts;
    let admit = Admit {
        handle: handle.clone(),
        keys: keys.clone(),
        vault: tools.vault.clone(),
        nats_urls: config.nats.advertise.clone(),
        ca_pem: material.ca_pem.clone(),
        credential_ttl: span(config.credential_ttl),
    };
    let metrics = Arc::new(Metrics::new());
    metrics.clone().spawn(supervisor, handle.clone(), shown.clone(), tools.log.room());
    let service = FleetService {
        handle: handle.clone(),
        log: tools.log.clone(),
        watch: looks.clone(),
        mirrors: tools.mirrors.clone(),
        shown: shown.clone(),
        link: tools.bus.link(),
        settings: FleetSettings {
            lease: span(config.lease),
            token_ttl: span(config.token_ttl),
            hub_url: config.url.clone(),
            ca_pem: material.ca_pem.clone(),
            image: config.agent_image.clone(),
            data_dir: config.data_dir.clone(),
        },
    };
    let (hook, log) = (Notices::new(webhook_secrets(config)?, looks.clone()), tools.log.clone());
    Ok(Served {
        fleet: Arc::new(service),
        keyring: administrators::open(config, &material.ca_pem)?,
        metrics: Arc::new(move || {
            metrics.synced(log.syncs());
            metrics.text()
        }),
        hook: Arc::new(hook),
        join: crate::join::router(Arc::new(admit), Arc::new(wall)),
    })
}

async fn serve_https(
    served: Served,
    material: &Material,
    listener: TcpListener,
    supervisor: &mut Supervisor,
) -> anyhow::Result<()> {
    let certificate = tls::server_config(material.shown.clone(), &[b"h2", b"http/1.1"]);
    let routes_stop = CancellationToken::new();
    let routes = router(served, routes_stop.clone()).await?;
    supervisor.spawn("https", Kind::Service, Stage::Intake, move |stop| async move {
        let ending = stop.clone();
        let serving = serve::serve(listener, Arc::new(certificate), routes, stop);
        tokio::join!(serving, async move {
            ending.cancelled().await;
            routes_stop.cancel();
        });
        Ok(())
    });
    Ok(())
}

fn rendering(config: &Config) -> anyhow::Result<RenderSettings> {
    let program = find(&config.render.kustomize)?;
    let jail = Jail::here().context("find this program")?;
    let mut settings = RenderSettings::new(program, jail);
    settings.time_limit = config.render.timeout;
    settings.output_bytes_max = usize::try_from(config.render.output_bytes_max)?;
    settings.memory_bytes_max = config.render.memory_bytes_max;
    settings.parallel_max = config.render.parallel;
    Ok(settings)
}

/// A program by path, beside this one, or on PATH.
fn find(program: &str) -> anyhow::Result<PathBuf> {
    if program.contains('/') {
        return Ok(program.into());
    }
    let here = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join(program)));
    let search = search_path();
    let named = std::env::split_paths(&search).map(|folder| folder.join(program));
    here.into_iter().chain(named).find(|path| path.is_file()).with_context(|| {
        format!("find {program}: install it, put it on PATH, or set render.kustomize to its path")
    })
}

fn search_path() -> String {
    std::env::var_os("PATH").and_then(|path| path.into_string().ok()).unwrap_or_default()
}

/// Server, accounts and the hub's connection.
async fn messaging(
    config: &Config,
    keys: &Arc<Keys>,
    material: &Material,
) -> anyhow::Result<(Option<Managed>, Arc<Accounts>, Arc<dyn Bus>)> {
    let (managed, url, ca_pem) = match &config.nats.server {
        NatsServer::Managed { program, listen } => {
            let settings = NatsSettings {
                directory: config.data_dir.join("nats"),
                program: Some(PathBuf::from(program)).filter(|path| path.components().count() > 1),
                search: search_path(),
                host: listen.ip().to_string(),
                port: listen.port(),
                tls: Some(TlsFiles { certificate: material.certificate.clone(), key: material.key.clone() }),
                store_bytes_max: STREAMS_BYTES_MAX,
            };
            let managed = Managed::start(settings, keys, wall()).await?;
            let url = format!("tls://localhost:{}", managed.port());
            (Some(managed), url, Some(material.ca_pem.clone()))
        }
        NatsServer::Outside { url, ca_file, .. } => {
            let ca = ca_file.as_deref().map(secret::read_given).transpose()?;
            (None, url.clone(), ca)
        }
    };
    let link = |login, name: &str| Options {
        urls: vec![url.clone()],
        login,
        ca_pem: ca_pem.clone(),
        name: name.to_owned(),
        inbox_prefix: None,
        tls: Tls::Required,
        first: First::MustSucceed,
    };
    let system: Connection = connect(link(keys.system_login(wall())?, "taffrail hub (accounts)")).await?;
    let accounts = Arc::new(Accounts::new(keys.clone(), system.client));
    if managed.is_none() {
        accounts.push_hub(wall()).await?;
    }
    let hub = connect(link(keys.hub_login(wall())?, "taffrail hub")).await?;
    Ok((managed, accounts, Arc::new(bus::Nats::new(hub, 1))))
}

fn core_tasks(supervisor: &mut Supervisor, driver: Driver, mut perform: Perform) {
    supervisor.spawn("driver", Kind::Service, Stage::Output, move |stop| async move {
        driver.run(&mut perform, stop).await.map_err(Into::into)
    });
}

/// The first inputs: what is on the bus, so that a log that is too old is found before anything is decided; the start; and
/// the offline key.
fn start_task(
    supervisor: &mut Supervisor,
    parts: &Parts,
    accounts: Vec<AccountKey>,
    epoch: u64,
    offline: Option<PublicKey>,
) {
    let (post, bus) = (parts.handle.post(), parts.tools.bus.clone());
    supervisor.spawn("start", Kind::Job, Stage::Work, move |_| async move {
        post.input(Input::Witnessed(bus::marks(&*bus, accounts).await)).await?;
        post.input(Input::Started { version: VERSION.to_owned(), epoch }).await?;
        if let Some(key) = offline {
            post.input(Input::RestoreKey(key.0)).await?;
        }
        Ok(())
    });
}

/// Looks at repositories, and drops bundles that nothing names any more.
fn git_tasks(supervisor: &mut Supervisor, config: &Config, parts: &Parts) {
    let (poll, watching) = (config.git.poll, parts.looks.clone());
    supervisor.spawn("git", Kind::Service, Stage::Intake, move |stop| async move {
        watching.run(poll, stop).await;
        Ok(())
    });
    let (collecting, asking) = (parts.tools.clone(), parts.handle.clone());
    let kept = usize::try_from(config.indexes_kept).unwrap_or(usize::MAX);
    supervisor.spawn("collect", Kind::Service, Stage::Work, move |stop| async move {
        collect(collecting, asking, kept, stop).await;
        Ok(())
    });
}

fn bus_tasks(supervisor: &mut Supervisor, parts: &Parts) {
    let Parts { tools, handle, .. } = parts;
    let (listening, asking, signing) = (tools.bus.clone(), handle.clone(), tools.vault.clone());
    supervisor.spawn("ingest", Kind::Service, Stage::Intake, move |stop| async move {
        ingest(listening, asking, signing, stop).await
    });
    let (keeping, posting, accounts) = (tools.bus.clone(), handle.clone(), tools.accounts.clone());
    let offering = tools.vault.clone();
    supervisor.spawn("streams", Kind::Service, Stage::Work, move |stop| async move {
        let mut looks = std::pin::pin!(bus::ensured(keeping).take_until(stop.cancelled_owned()));
        while let Some(found) = looks.next().await {
            if found == Ensured::Refill {
                offering.offered().clear();
                push_accounts(&posting, &accounts).await?;
                posting.post().input(Input::Refill).await?;
            }
        }
        Ok(())
    });
}

/// After a loss the server knows no account: all are told at once.
async fn push_accounts(handle: &Handle, accounts: &Accounts) -> anyhow::Result<()> {
    let known = handle.look(|hub, _| hub.state().clusters.accounts.clone()).await?;
    let clusters: Vec<Cluster> = known
        .into_iter()
        .map(|(account, name)| Cluster { account, name, revoked: BTreeMap::new() })
        .collect();
    if let Err(error) = accounts.push_all(&clusters, wall()).await {
        tracing::warn!(
            error = telemetry::chain(&error),
            "accounts not put in force, each will be tried again"
        );
    }
    Ok(())
}

fn certificate_tasks(supervisor: &mut Supervisor, material: &Material, authority: Option<Arc<Authority>>) {
    let shown = material.shown.clone();
    supervisor.spawn("certificates", Kind::Service, Stage::Work, move |stop| async move {
        let renewing = async {
            loop {
                if let Some(authority) = &authority
                    && let Err(error) = authority.renew_if_due(wall())
                {
                    tracing::error!(error = telemetry::chain(&error), "certificate not renewed, will retry");
                }
                tokio::time::sleep(CERTIFICATES_EVERY).await;
            }
        };
        tokio::select! {
            () = shown.follow(CERTIFICATES_EVERY, stop) => {}
            () = renewing => {}
        }
        Ok(())
    });
}

fn webhook_secrets(config: &Config) -> anyhow::Result<Vec<Secret>> {
    let Some(path) = &config.git.webhook_secrets_file else { return Ok(Vec::new()) };
    let text = secret::read_given(path)?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Secret::new).collect())
}
