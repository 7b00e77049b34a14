//! Wiring: the cluster, the identity, the journal, the driver and its tasks; shutdown in order.

use crate::bus::{self, Bus};
use crate::config::{Config, StoreKind};
use crate::driver::{Driver, Driving, Handle, Outbox, Performer as _, Prover, Resumed, Sent, stored};
use crate::identity::{
    Directory, Identity, Keys, Member, Obtain, Renewer, Secret, Store as IdentityStore, obtain,
};
use crate::journal::{Journal, Opened, Redb, Snapshot};
use crate::kube::home::{self, Home};
use crate::kube::inventory::Inventories;
use crate::kube::lease::{self, Election, Role};
use crate::kube::secret::Store;
use crate::kube::{Access, Api, Change, Clients, Watcher, Watches};
use crate::perform::{Perform, Tools, hand_over};
use crate::{mark, park, probes};
use anyhow::Context as _;
use futures::StreamExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use taffrail_core::desired::Mark;
use taffrail_core::event::agent::{Journal as JournalState, LostEvents, Refusal};
use taffrail_core::id::AccountKey;
use taffrail_core::node::agent::{Agent, Held, Input};
use taffrail_core::sync::Limits;
use taffrail_core::time::{At, Span};
use taffrail_proto::index;
use taffrail_proto::join::Token;
use taffrail_proto::journal::Parked;
use taffrail_runtime::backoff::Backoff;
use taffrail_runtime::nats::{Login, Tls};
use taffrail_runtime::supervise::{Kind, Stage, Supervisor};
use taffrail_runtime::{secret, shutdown, telemetry, tls};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Threads for what blocks: the journal's writes, and a bundle that is unpacked beside them.
const BLOCKING_MAX: usize = 2;

/// Prints text to standard output.
#[expect(clippy::print_stdout, reason = "the one place where the agent's program talks to a terminal")]
pub fn say(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

/// Prints what is wrong to standard error.
pub fn complain(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// Runs the agent until a signal.
pub fn blocking(config: Config) -> ExitCode {
    // Each thread costs an arena of memory, and there is little to do at once: docs/adr/0022-an-agent-in-thirty-megabytes.md.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.worker_threads(1).max_blocking_threads(BLOCKING_MAX).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("start the async runtime: {error}")),
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("taffrail-agent: {error:#}")),
    }
}

/// Runs the agent until a signal or until a task ends early.
///
/// # Errors
/// What kept it from starting, or the task that ended early.
pub async fn run(config: Config) -> anyhow::Result<()> {
    tls::install_crypto();
    let telemetry = telemetry::install(&telemetry::Settings {
        service: "taffrail-agent",
        version: VERSION,
        format: config.log_format,
        filter: config.log_filter.clone(),
        otlp: config.otlp.clone(),
    })?;
    let stop = CancellationToken::new();
    shutdown::listen(stop.clone(), config.grace).context("listen for signals")?;
    let outcome = until(&config, stop).await;
    telemetry.flush().await;
    outcome
}

/// Acts until `stop`, or until a task ends early. Crypto provider and telemetry are the caller's.
///
/// # Errors
/// As [`run`].
pub async fn until(config: &Config, stop: CancellationToken) -> anyhow::Result<()> {
    secret::make_folder(&config.state_dir)?;
    let access = Access {
        kubeconfig: config.kube.config_file.clone(),
        applier: config.kube.applier.clone(),
        ..Access::default()
    };
    let clients = Clients::new(&access).await?;
    if config.kube.config_file.is_some() {
        let home = Home { namespace: config.kube.namespace.clone(), applier: config.kube.applier.clone() };
        let made = home::prepare(&clients.reader, &home).await?;
        if !made.is_empty() {
            tracing::info!(made = made.join(", "), "made what the agent needs; it applies as cluster-admin");
        }
    }
    let mut supervisor = Supervisor::new(stop.clone());
    if config.kube.lease && !lead(config, &clients, &mut supervisor, &stop).await? {
        return supervisor.run().await.map_err(Into::into);
    }
    let (kubernetes, uid) = home::cluster(&clients.reader).await;
    let Some(identity) = identity(config, &clients, &kubernetes, uid, &stop).await? else {
        return supervisor.run().await.map_err(Into::into);
    };
    wire(config, clients, identity, kubernetes, &mut supervisor).await?;
    supervisor.run().await.map_err(Into::into)
}

/// Waits until this agent holds the lease; `false` if it is to stop before. Losing it later ends the process.
async fn lead(
    config: &Config,
    clients: &Clients,
    supervisor: &mut Supervisor,
    stop: &CancellationToken,
) -> anyhow::Result<bool> {
    let name = config.kube.identity.clone().unwrap_or_else(|| format!("process-{}", std::process::id()));
    let settings = lease::Settings::new(&config.kube.namespace, "taffrail-agent", &name);
    let (election, mut role) = Election::new(&clients.reader, settings);
    supervisor.spawn("lease", Kind::Service, Stage::Output, move |stop| async move {
        election.run(stop).await;
        Ok(())
    });
    tracing::info!(identity = name, "waiting for the lease");
    let leads = |role: &Role| matches!(role, Role::Leading { .. });
    tokio::select! {
        found = role.wait_for(leads) => { drop(found.context("wait for the lease")?); }
        () = stop.cancelled() => return Ok(false),
    }
    supervisor.spawn("leading", Kind::Service, Stage::Work, move |stop| async move {
        tokio::select! {
            lost = role.wait_for(|role| !matches!(role, Role::Leading { .. })) => {
                drop(lost);
                anyhow::bail!("another agent of this cluster holds the lease now")
            }
            () = stop.cancelled() => Ok(()),
        }
    });
    Ok(true)
}

async fn identity(
    config: &Config,
    clients: &Clients,
    kubernetes: &str,
    cluster_uid: String,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Identity>> {
    let store: Arc<dyn IdentityStore> = match config.identity {
        StoreKind::Secret => Arc::new(Secret::new(Store::new(&clients.reader, &config.kube.namespace))),
        StoreKind::Directory => Arc::new(Directory::new(&config.state_dir)),
    };
    let given = |path: &Option<PathBuf>| {
        path.as_deref().filter(|path| path.exists()).map(secret::read_given).transpose()
    };
    let ca_pem = given(&config.hub_ca_file)?.unwrap_or_default();
    let token = given(&config.token_file)?.and_then(|text| Token::parse(text.trim()));
    let settings = Obtain {
        hub_url: config.hub_url.clone(),
        ca_pem,
        token,
        agent_version: VERSION.to_owned(),
        kubernetes_version: kubernetes.to_owned(),
        cluster_uid,
        backoff: Backoff::NETWORK,
        clock: Arc::new(wall),
    };
    match obtain(settings, store, stop).await {
        Ok(identity) => Ok(Some(identity)),
        Err(crate::identity::Error::Stopped) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The journal, what it held, and its state.
struct Opening {
    journal: Arc<dyn Journal>,
    snapshot: Snapshot,
    state: JournalState,
    floor: Mark,
    /// Events of earlier runs that go first.
    parked: Option<Parked>,
}

/// The journal of one membership: numbers and marks of an earlier one mean nothing to another hub.
pub fn journal_of(file: &Path, account: &AccountKey) -> PathBuf {
    let part =
        |part: Option<&std::ffi::OsStr>| part.and_then(|text| text.to_str()).unwrap_or_default().to_owned();
    let (stem, ending) = (part(file.file_stem()), part(file.extension()));
    file.with_file_name(format!("{stem}-{}.{ending}", account.as_str()[..12].to_ascii_lowercase()))
}

async fn open(config: &Config, place: &mark::Place, member: &Member) -> anyhow::Result<Opening> {
    let mirrored = place.read().await.context("read the mirrored mark")?;
    let parked = mirrored.parked.as_deref().and_then(park::unpack);
    let spoken = mirrored.incarnation.max(member.incarnation);
    let next = spoken + 1;
    let path = journal_of(&config.journal, &member.account);
    let (journal, opened) =
        tokio::task::spawn_blocking(move || Redb::open_newest(&path, spoken, next)).await??;
    if let Opened::Lost { reason } = &opened {
        tracing::error!(error = reason, "journal cannot be used and is kept aside; a new incarnation begins");
    }
    let journal: Arc<dyn Journal> = Arc::new(journal);
    let reading = journal.clone();
    let snapshot = tokio::task::spawn_blocking(move || reading.load()).await??;
    let state = journal_state(&opened, &snapshot, parked.as_ref());
    place.claim(&mirrored, snapshot.incarnation).await.context("mirror the number of the journal")?;
    let parked = park::before(parked, snapshot.incarnation);
    Ok(Opening { journal, snapshot, state, floor: mirrored.held, parked })
}

/// A journal in which nothing was ever numbered is as new as on the day it was made: its start was not stated yet.
fn journal_state(opened: &Opened, snapshot: &Snapshot, parked: Option<&Parked>) -> JournalState {
    match opened {
        Opened::Found if snapshot.next_seq > 1 => JournalState::Found,
        Opened::Lost { .. } => JournalState::Lost(LostEvents::Unknown),
        Opened::Found | Opened::New if snapshot.incarnation == 1 => JournalState::New,
        Opened::Found | Opened::New => JournalState::Lost(park::lost(parked, snapshot.incarnation - 1)),
    }
}

/// The index that the journal holds, verified again, and the keys of its bundles.
fn held(snapshot: &Snapshot, floor: Mark, member: &Member) -> (Held, Option<index::Verified>) {
    let verified = snapshot.index.as_ref().and_then(|bytes| {
        index::verify(bytes.to_vec(), &member.hub_key, &member.account)
            .inspect_err(|error| {
                tracing::error!(error = telemetry::chain(error), "index of the journal not usable");
            })
            .ok()
    });
    let held = match &verified {
        Some(found) => {
            Held { index: Some(found.index.clone()), mark: found.index.mark, digest: Some(found.digest) }
        }
        None => Held { index: None, mark: floor, digest: None },
    };
    (held, verified)
}

async fn wire(
    config: &Config,
    clients: Clients,
    identity: Identity,
    kubernetes: String,
    supervisor: &mut Supervisor,
) -> anyhow::Result<()> {
    let member = identity.member.borrow().clone();
    let keys = identity.keys.clone();
    let members = identity.member.subscribe();
    let store = Store::new(&clients.reader, &config.kube.namespace);
    let place = mark::Place::new(store, member.account.clone());
    let Opening { journal, snapshot, state, floor, parked } = open(config, &place, &member).await?;
    let (held, verified) = held(&snapshot, floor, &member);
    let incarnation = snapshot.incarnation;
    let sent = watch::Sender::new(Sent { receipted: snapshot.receipted, ..Sent::default() });
    let (instances, rows) = stored(&snapshot).context("read the journal")?;
    journal.commit(rows).await?;
    let Resumed { waiting, stopped, receipt } = Resumed::read(&snapshot, &member);
    let agent = Agent::new(held, instances, limits(config)).resuming(waiting, stopped);
    let bus = connect(&member, &keys).await?;
    let api = Api::new(clients.clone());
    let (watches, streams, changes) = Watches::new(&clients, api.discovery(), &config.kube.namespaces);
    let home = config.kube.namespace.clone();
    let inventories = Inventories::new(&clients.reader, &home);
    let (kept, carried) = (journal.clone(), bus.clone());
    let keys_of_bundles = Mutex::default();
    let tools = Tools { api, inventories, watches, journal: kept, bus: carried, home, keys: keys_of_bundles };
    let driving = Driving {
        agent,
        journal: journal.clone(),
        snapshot,
        account: member.account.clone(),
        cluster: member.cluster.clone(),
        room: config.outbox_bytes,
        sent: sent.subscribe(),
    };
    let (driver, handle, shown) = Driver::new(driving).context("read the journal")?;
    let mut perform = Perform::new(Arc::new(tools), handle.clone(), TaskTracker::new());
    if let Some(verified) = &verified {
        perform.took(verified);
    }

    let (behind, removed) = (Arc::new(Notify::new()), CancellationToken::new());
    let outbox = Outbox {
        journal,
        bus: bus.clone(),
        keys: keys.clone(),
        member: members.clone(),
        incarnation,
        heartbeat: config.heartbeat,
        shown: shown.clone(),
        behind: behind.clone(),
        removed: removed.clone(),
        sent: sent.clone(),
        prover: Prover::new(driver.showing(), receipt),
        parked,
        park: Arc::new(place.clone()),
    };
    let begin = Input::Started { version: VERSION.to_owned(), kubernetes, journal: state };
    core_tasks(supervisor, driver, perform, outbox, begin, handle.clone());
    observe(supervisor, streams, changes, config.kube.namespaces.len().max(1), handle.clone());
    let following =
        Following { bus: bus.clone(), behind, removed: removed.clone(), members: members.clone() };
    follow(supervisor, following, handle, keys.clone());
    renew(supervisor, identity, bus, members, removed.clone());
    mark::spawn(supervisor, place, incarnation, shown.clone());
    probes::spawn(supervisor, config.probes, probes::Looked { shown, sent: sent.subscribe(), removed });
    Ok(())
}

fn limits(config: &Config) -> Limits {
    let timeout = u64::try_from(config.health_timeout.as_millis()).unwrap_or(u64::MAX);
    Limits { health_timeout: Span(timeout), ..Limits::default() }
}

/// The connection to the message bus, as the member that the hub let in.
async fn connect(member: &Member, keys: &Keys) -> anyhow::Result<Arc<dyn Bus>> {
    let seed = keys.user.seed().context("read the NATS key")?;
    let settings = bus::Settings {
        urls: member.nats_urls.clone(),
        account: member.account.clone(),
        login: Login::new(&member.nats_jwt, &seed)?,
        ca_pem: Some(member.ca_pem.clone()),
        tls: Tls::Required,
    };
    Ok(Arc::new(bus::Nats::connect(settings).await?))
}

/// The driver, what it sends, and its first input.
fn core_tasks(
    supervisor: &mut Supervisor,
    driver: Driver,
    mut perform: Perform,
    outbox: Outbox,
    begin: Input,
    handle: Handle,
) {
    supervisor.spawn("driver", Kind::Service, Stage::Work, move |stop| async move {
        driver.run(&mut perform, stop).await.map_err(Into::into)
    });
    supervisor.spawn("outbox", Kind::Service, Stage::Output, move |stop| async move {
        outbox.run(stop).await.map_err(Into::into)
    });
    supervisor.spawn("start", Kind::Job, Stage::Work, move |_| async move {
        handle.input(begin).await;
        Ok(())
    });
}

/// Watches, and changes of live objects on their way to the driver.
fn observe(
    supervisor: &mut Supervisor,
    streams: Watcher,
    mut changes: tokio::sync::mpsc::Receiver<Change>,
    parts: usize,
    handle: Handle,
) {
    supervisor.spawn("watches", Kind::Service, Stage::Intake, move |stop| async move {
        streams.run(stop).await;
        Ok(())
    });
    supervisor.spawn("changes", Kind::Service, Stage::Intake, move |stop| async move {
        tokio::select! {
            () = hand_over(&mut changes, &handle, parts) => {}
            () = stop.cancelled() => {}
        }
        Ok(())
    });
}

/// Where indexes come from, and until when.
struct Following {
    bus: Arc<dyn Bus>,
    behind: Arc<Notify>,
    removed: CancellationToken,
    members: watch::Receiver<Arc<Member>>,
}

/// Indexes on their way to the driver: those that come, and the last one whenever the hub says that we are behind.
fn follow(supervisor: &mut Supervisor, from: Following, handle: Handle, keys: Arc<Keys>) {
    let Following { bus, behind, removed, members } = from;
    supervisor.spawn("indexes", Kind::Service, Stage::Intake, move |stop| async move {
        let mut indexes = bus.indexes();
        loop {
            let sealed = tokio::select! {
                sealed = indexes.next() => sealed,
                () = behind.notified() => match bus.index().await {
                    Ok(Some(sealed)) => Some(sealed),
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::debug!(error = telemetry::chain(&error), "newer index not read yet");
                        continue;
                    }
                },
                () = removed.cancelled() => None,
                () = stop.cancelled() => return Ok(()),
            };
            if removed.is_cancelled() {
                drop(indexes);
                stop.cancelled().await;
                return Ok(());
            }
            let Some(sealed) = sealed else { return Ok(()) };
            let member = members.borrow().clone();
            match index::open(&sealed, &keys.boxed, &member.hub_key, &member.account) {
                Ok(verified) => {
                    let permit = verified.permit(member.restore_key.as_ref(), &member.hub_key);
                    handle.index(verified, permit).await;
                }
                Err(error) => {
                    tracing::error!(error = telemetry::chain(&error), "index not taken");
                    let (mark, reason) = claimed(&error);
                    handle.bad_index(mark, reason).await;
                }
            }
        }
    });
}

fn claimed(error: &index::Error) -> (Mark, Refusal) {
    match error {
        index::Error::OtherCluster { mark, .. } => (*mark, Refusal::OtherCluster),
        index::Error::Signature { mark, .. } => (*mark, Refusal::BadSignature),
        index::Error::Seal(_) | index::Error::Malformed(_) => (Mark::default(), Refusal::BadSignature),
    }
}

/// Renews credentials and hands new ones to the connection, until there is nobody to renew them.
fn renew(
    supervisor: &mut Supervisor,
    identity: Identity,
    bus: Arc<dyn Bus>,
    mut members: watch::Receiver<Arc<Member>>,
    removed: CancellationToken,
) {
    let keys = identity.keys.clone();
    let renewer = Renewer::new(identity, bus.link(), removed.clone());
    supervisor.spawn("renewal", Kind::Service, Stage::Work, move |stop| async move {
        let handing = async {
            while members.changed().await.is_ok() {
                let jwt = members.borrow_and_update().nats_jwt.clone();
                let handed = match keys.user.seed() {
                    Ok(seed) => bus.renew(&jwt, &seed).await.map_err(anyhow::Error::from),
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = handed {
                    tracing::error!(error = format!("{error:#}"), "new credentials not in use");
                }
            }
        };
        tokio::select! {
            () = renewer.run(stop.clone()) => {}
            () = handing => {}
        }
        if removed.is_cancelled() {
            bus.end();
            stop.cancelled().await;
        }
        Ok(())
    });
}

fn wall() -> At {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
    At(u64::try_from(wall).unwrap_or(u64::MAX))
}
