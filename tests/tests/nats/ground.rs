//! A nats-server run by a hub's own code, with clusters and agents on it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nkeys::KeyPair;
use taffrail_agent::bus as agent;
use taffrail_core::id::{AccountKey, ClusterName};
use taffrail_core::time::{At, Span};
use taffrail_hub::bus as hub;
use taffrail_hub::nats::{Accounts, Cluster, Keys, Managed, Settings, UserKey};
use taffrail_runtime::nats::{Connection, First, Link, Login, Options, Tls, connect};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

/// Longest wait for any fact.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// One server with its keys. Its process is killed when this is dropped.
pub(crate) struct Ground {
    pub(crate) directory: TempDir,
    pub(crate) keys: Arc<Keys>,
    pub(crate) server: Option<Managed>,
    pub(crate) port: u16,
}

/// A user of a cluster's account.
pub(crate) struct User {
    pub(crate) key: UserKey,
    pub(crate) seed: String,
    pub(crate) jwt: String,
}

pub(crate) fn now() -> At {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    At(u64::try_from(since.as_millis()).expect("a clock before the year 500 million"))
}

/// Where programs are: the cache first, as the Makefile fills it, then the path.
pub(crate) fn search() -> String {
    let cache = std::env::var_os("TAFFRAIL_CACHE").map(|cache| PathBuf::from(cache).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = cache.into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(folders).expect("folders without colons").into_string().expect("folders in UTF-8")
}

pub(crate) fn settings(directory: PathBuf, port: u16) -> Settings {
    Settings {
        directory,
        program: None,
        search: search(),
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
        store_bytes_max: 1 << 30,
    }
}

impl Ground {
    pub(crate) async fn start() -> Ground {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let keys = Arc::new(Keys::open(&directory.path().join("keys")).expect("keys"));
        let mut ground = Ground { directory, keys, server: None, port: 0 };
        ground.start_server().await;
        ground
    }

    /// Starts the server, on the same port as before.
    pub(crate) async fn start_server(&mut self) {
        let settings = settings(self.directory.path().join("nats"), self.port);
        let server = Managed::start(settings, &self.keys, now()).await.expect("a running server");
        self.port = server.port();
        self.server = Some(server);
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn connect(
        &self,
        login: Login,
        inbox_prefix: Option<String>,
    ) -> Result<Connection, String> {
        let options = Options {
            urls: vec![self.url()],
            login,
            ca_pem: None,
            name: "test".to_owned(),
            inbox_prefix,
            tls: Tls::AsOffered,
            first: First::MustSucceed,
        };
        connect(options).await.map_err(|error| error.to_string())
    }

    pub(crate) async fn hub(&self) -> hub::Nats {
        let login = self.keys.hub_login(now()).expect("a login");
        hub::Nats::new(self.connect(login, None).await.expect("the hub connects"), 1)
    }

    pub(crate) async fn accounts(&self) -> Accounts {
        let login = self.keys.system_login(now()).expect("a login");
        let connection = self.connect(login, None).await.expect("the system account connects");
        Accounts::new(self.keys.clone(), connection.client)
    }

    /// A new cluster, not yet known to the server.
    pub(crate) fn cluster(&self, name: &str) -> Cluster {
        Cluster {
            account: self.keys.make_account().expect("an account"),
            name: ClusterName::parse(name).expect("a name"),
            revoked: BTreeMap::new(),
        }
    }

    pub(crate) fn user(&self, account: &AccountKey) -> User {
        let pair = KeyPair::new_user();
        let key = UserKey::parse(&pair.public_key()).expect("a key");
        let (jwt, _) = self.keys.agent_jwt(account, &key, now(), Span::secs(3_600)).expect("a credential");
        User { key, seed: pair.seed().expect("a seed"), jwt }
    }

    pub(crate) async fn agent_as(&self, account: &AccountKey, user: &User) -> agent::Nats {
        let settings = agent::Settings {
            urls: vec![self.url()],
            account: account.clone(),
            login: user.login(),
            ca_pem: None,
            tls: Tls::AsOffered,
        };
        agent::Nats::connect(settings).await.expect("an agent")
    }

    pub(crate) async fn agent(&self, account: &AccountKey) -> agent::Nats {
        self.agent_as(account, &self.user(account)).await
    }
}

impl User {
    pub(crate) fn login(&self) -> Login {
        Login::new(&self.jwt, &self.seed).expect("a login")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            kill(server.state().borrow().pid);
        }
    }
}

/// `kill -9`.
pub(crate) fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// Waits until a fact holds.
pub(crate) async fn until<T: Clone>(mut of: watch::Receiver<T>, fact: impl FnMut(&T) -> bool) -> T {
    let found = timeout(BOUND, of.wait_for(fact)).await.expect("the fact comes in time");
    found.expect("the sender lives").clone()
}

pub(crate) async fn until_up(link: watch::Receiver<Link>) {
    until(link, |link| link.up).await;
}
