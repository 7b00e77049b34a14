//! An agent's parts in this process, before an API server in memory: its journal is on disk, the test plays the hub.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use taffrail_agent::bus;
use taffrail_agent::driver::{Driver, Driving, Performer as _, Sent, Shown, stored};
use taffrail_agent::journal::{Journal, Redb, Write};
use taffrail_agent::kube::client::APPLIER;
use taffrail_agent::kube::inventory::Inventories;
use taffrail_agent::kube::{Access, Api, Clients, Watches};
use taffrail_agent::perform::{Perform, Tools, hand_over};
use taffrail_core::catalog::MaxDeletes;
use taffrail_core::desired::{Entry, Index, Mark, Policy};
use taffrail_core::digest::Digest;
use taffrail_core::event::AgentFact;
use taffrail_core::event::agent::{Journal as Found, Phase, Status};
use taffrail_core::id::{AccountKey, AppId, ClusterName, CommitId};
use taffrail_core::node::agent::{Agent, Held, Input};
use taffrail_core::sync::Limits;
use taffrail_proto::event::{Decoded, decode, decode_header};
use taffrail_proto::index::{Terms, Verified};
use taffrail_proto::seal::{SealingSecret, seal_bundle};
use taffrail_proto::sign::sha256;
use taffrail_proto::{bundle, journal as encoding};
use taffrail_testkit::apiserver::{ApiServer, Options};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where the agent's own objects are.
pub const HOME: &str = "taffrail-system";

/// Where the app's objects are.
pub const NAMESPACE: &str = "web";

/// How long a fact may take before a test gives up.
const PATIENCE: Duration = Duration::from_mins(5);

/// A cluster in memory, and what its agent keeps between its starts.
pub struct Alone {
    /// The cluster.
    pub server: ApiServer,
    bus: bus::Memory,
    secret: SealingSecret,
    folder: TempDir,
    index: Index,
    keys: BTreeMap<Digest, taffrail_proto::seal::BundleKey>,
}

/// An agent that runs.
pub struct Running {
    /// The way to the driver.
    pub handle: taffrail_agent::driver::Handle,
    shown: watch::Receiver<Shown>,
    journal: Arc<dyn Journal>,
    _sent: watch::Sender<Sent>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<Result<()>>>,
}

/// The only app.
///
/// # Panics
/// Never: its name is one.
pub fn app() -> AppId {
    AppId::parse("shop/web").expect("a name")
}

impl Alone {
    /// A cluster with the agent's namespace and the app's.
    ///
    /// # Errors
    /// No server can be started.
    pub async fn new() -> Result<Alone> {
        let options = Options { controllers: false, ..Options::default() };
        let server = ApiServer::start(options).await.context("start an API server in memory")?;
        let folder = tempfile::tempdir().context("make a folder")?;
        std::fs::write(folder.path().join("kubeconfig"), server.kubeconfig())?;
        let index = Index { mark: Mark { epoch: 1, generation: 0 }, entries: BTreeMap::new() };
        let (bus, secret) = (bus::Memory::new(|_, _| None), SealingSecret::generate()?);
        let alone = Alone { server, bus, secret, folder, index, keys: BTreeMap::new() };
        let clients = alone.clients().await?;
        for name in [HOME, NAMESPACE] {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let request = taffrail_agent::kube::ApplyRequest {
                object,
                mode: taffrail_agent::kube::Mode::Store,
                conflicts: taffrail_agent::kube::Conflicts::Force,
                last: None,
            };
            taffrail_agent::kube::Objects::apply(&Api::new(clients.clone()), &request).await?;
        }
        Ok(alone)
    }

    /// Where its kubeconfig is.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Clients as an agent has them.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub async fn clients(&self) -> Result<Clients> {
        let access =
            Access { kubeconfig: Some(self.kubeconfig()), applier: APPLIER.to_owned(), ..Access::default() };
        Ok(Clients::new(&access).await?)
    }

    /// Seals these objects as the app's next bundle and makes the index that asks for it.
    ///
    /// # Errors
    /// They are no bundle.
    pub fn next(&mut self, objects: &[Value]) -> Result<Verified> {
        let encoded = bundle::encode(objects)?;
        let sealed = seal_bundle(&self.secret, encoded.digest, &encoded.compressed);
        self.bus.put_bundle(sealed.id, sealed.bytes.into());
        self.keys = [(sealed.id, sealed.key)].into();
        self.index.mark.generation += 1;
        let policy = Policy {
            namespace: NAMESPACE.into(),
            create_namespace: false,
            prune: true,
            self_heal: true,
            allow_empty: false,
            max_deletes: MaxDeletes::Percent(100),
        };
        let entry = Entry {
            since: self.index.mark,
            digest: encoded.digest,
            sealed: sealed.id,
            commit: CommitId::parse(&"a".repeat(40))?,
            policy,
            approved: None,
            withdrawn: None,
            trace: None,
        };
        self.index.entries = [(app(), entry)].into();
        Ok(self.verified())
    }

    fn verified(&self) -> Verified {
        let signed = format!("signed {}", self.index.mark).into_bytes();
        Verified {
            index: self.index.clone(),
            digest: sha256(&signed),
            keys: self.keys.clone(),
            signed,
            terms: Terms::default(),
        }
    }

    /// Starts the agent over its journal.
    ///
    /// # Errors
    /// A part cannot be started.
    pub async fn start(&self) -> Result<Running> {
        let clients = self.clients().await?;
        let (journal, _) = Redb::open(&self.folder.path().join("journal.redb"), 1)?;
        let journal: Arc<dyn Journal> = Arc::new(journal);
        let snapshot = journal.load()?;
        let known = snapshot.index.is_some();
        let held = if known {
            let Verified { index, digest, .. } = self.verified();
            Held { mark: index.mark, digest: Some(digest), index: Some(index) }
        } else {
            Held::default()
        };
        let (instances, rows) = stored(&snapshot)?;
        journal.commit(rows).await?;
        let api = Api::new(clients.clone());
        let (watches, streams, mut changes) = Watches::new(&clients, api.discovery(), &[]);
        let tools = Arc::new(Tools {
            api,
            inventories: Inventories::new(&clients.reader, HOME),
            watches,
            journal: journal.clone(),
            bus: Arc::new(self.bus.clone()),
            home: HOME.to_owned(),
            keys: Mutex::default(),
        });
        let sent = watch::Sender::new(Sent::default());
        let driving = Driving {
            agent: Agent::new(held, instances, Limits::default()),
            journal: journal.clone(),
            snapshot,
            account: AccountKey::parse(&format!("A{}", "B".repeat(55)))?,
            cluster: ClusterName::parse("west")?,
            room: u64::MAX,
            sent: sent.subscribe(),
        };
        let (driver, handle, shown) = Driver::new(driving)?;
        let mut perform = Perform::new(tools, handle.clone(), TaskTracker::new());
        if known {
            perform.took(&self.verified());
        }
        let stop = CancellationToken::new();
        let (stop_watches, stop_changes, stop_driver) = (stop.clone(), stop.clone(), stop.clone());
        let driver_of_watches = handle.clone();
        let tasks = vec![
            tokio::spawn(async move {
                streams.run(stop_watches).await;
                Ok(())
            }),
            tokio::spawn(async move {
                tokio::select! {
                    () = hand_over(&mut changes, &driver_of_watches, 1) => {}
                    () = stop_changes.cancelled() => {}
                }
                Ok(())
            }),
            tokio::spawn(async move { Ok(driver.run(&mut perform, stop_driver).await?) }),
        ];
        let (version, kubernetes) = ("1".to_owned(), "1".to_owned());
        handle.input(Input::Started { version, kubernetes, journal: Found::Found }).await;
        Ok(Running { handle, shown, journal, _sent: sent, stop, tasks })
    }
}

impl Running {
    /// Waits until the state of the app that was stated last is as wanted.
    ///
    /// # Errors
    /// It is not within `PATIENCE`.
    pub async fn stated(&mut self, wanted: impl Fn(&Status) -> bool) -> Result<Status> {
        let journal = self.journal.clone();
        self.wait_for(async || {
            let snapshot = journal.load()?;
            let Some(bytes) = snapshot.instances.get(&app().to_string()) else { return Ok(None) };
            Ok(encoding::decode(bytes)?.stated.filter(|status| wanted(status)))
        })
        .await
    }

    /// Waits until the app is synced at this mark.
    ///
    /// # Errors
    /// It is not within `PATIENCE`.
    pub async fn synced(&mut self, mark: Mark) -> Result<Status> {
        self.stated(|status| status.since == mark && status.phase == Phase::Synced).await
    }

    /// Waits until so many facts are of these kinds, and gives all facts.
    ///
    /// # Errors
    /// They are not within `PATIENCE`.
    pub async fn facts(&mut self, kind: &str, count: usize) -> Result<Vec<AgentFact>> {
        let journal = self.journal.clone();
        self.wait_for(async || {
            let mut facts = Vec::new();
            for row in journal.outbox_from(1, u32::MAX, u64::MAX)? {
                let header = decode_header(&row.header)?;
                if let Decoded::Agent(event) = decode(&header, &row.payload)? {
                    facts.push(event.fact);
                }
            }
            let found = facts.iter().filter(|fact| fact.kind() == kind).count();
            Ok((found >= count).then_some(facts))
        })
        .await
    }

    /// Looks at the journal whenever the driver has written.
    async fn wait_for<T>(&mut self, look: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = look().await? {
                    return Ok(found);
                }
                // What is not a new event is written as well: the pause bounds how late it is seen.
                let pause = tokio::time::sleep(Duration::from_millis(50));
                tokio::select! {
                    changed = self.shown.changed() => changed.context("the driver ended")?,
                    () = pause => {}
                }
            }
        });
        match waited.await {
            Ok(found) => found,
            Err(_) => bail!("not within {PATIENCE:?}"),
        }
    }

    /// Forgets events that the hub would have by now.
    ///
    /// # Errors
    /// The journal's.
    pub async fn receive(&self) -> Result<()> {
        let seq = self.journal.load()?.next_seq - 1;
        Ok(self.journal.commit(vec![Write::Receipt { seq }]).await?)
    }

    /// Ends the agent.
    ///
    /// # Errors
    /// A part failed.
    pub async fn stop(self) -> Result<()> {
        self.stop.cancel();
        for task in self.tasks {
            task.await??;
        }
        Ok(())
    }
}
