//! A nats-server that the hub runs: found, configured, started, kept up, adopted after a crash, stopped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use taffrail_core::time::At;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::configuration::{Configuration, configuration};
use super::keys::{Keys, make_directory};
use super::process::{self, Process};
use super::{Error, version};

/// How long a server may take until it answers. One with 10 GiB of streams took 3 s.
const START_MAX: Duration = Duration::from_secs(30);
/// How long a program may take to say its version.
const VERSION_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks at a starting server.
const LOOK: Duration = Duration::from_millis(25);
/// First pause before a restart; doubles up to [`RESTART_PAUSE_MAX`].
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a restart.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);
/// A server that ran this long has earned the shortest pause again.
const STEADY: Duration = Duration::from_mins(1);

/// Certificate files of the server, PEM. It reads them again at [`Managed::reload`].
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// What kind of server to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its configuration, accounts, streams, log and pid file; for one hub alone.
    pub directory: PathBuf,
    /// The program; `None` looks beside this executable, then in `search`.
    pub program: Option<PathBuf>,
    /// Where to look for the program, as `PATH` is written.
    pub search: String,
    /// Address to listen at.
    pub host: String,
    /// Port to listen at; 0 takes a free one and keeps it while this hub runs.
    pub port: u16,
    /// Certificate of the server; `None` serves without TLS.
    pub tls: Option<TlsFiles>,
    /// Most that streams may take on disk, in bytes.
    pub store_bytes_max: u64,
}

/// How the server stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Whether it runs and has answered.
    pub up: bool,
    /// Its process id, 0 while there is none.
    pub pid: u32,
    /// How often it ended unasked and was started again.
    pub restarts: u64,
}

/// A running server and the task that keeps it up. Dropped without [`Managed::stop`], the server goes on
/// and is adopted by the next hub.
#[derive(Debug)]
pub struct Managed {
    port: u16,
    state: watch::Receiver<Server>,
    stop: CancellationToken,
    keeper: JoinHandle<()>,
}

impl Managed {
    /// Finds the program, writes the configuration, starts the server or adopts the one that a crashed hub left
    /// (known by pid file and configuration digest), and waits until it answers.
    ///
    /// # Errors
    /// [`Error::NoProgram`], [`Error::TooOld`], [`Error::Start`], [`Error::Ended`], [`Error::Silent`],
    /// [`Error::Foreign`], and those of reading and writing files.
    pub async fn start(mut settings: Settings, keys: &Keys, at: At) -> Result<Managed, Error> {
        let program = find(&settings)?;
        ask_version(&program).await?;
        make_directory(&settings.directory)?;
        settings.directory = settings
            .directory
            .canonicalize()
            .map_err(|source| Error::Read { path: settings.directory.clone(), source })?;
        let preload = keys.preload(at)?;
        let name = format!("taffrail-{}", keys.mark());
        let port = if settings.port == 0 { free_port(&settings)? } else { settings.port };
        let configuration = configuration(&settings, port, &name, &preload)?;
        let plan = Plan {
            program,
            directory: settings.directory,
            host: reachable(&settings.host),
            port,
            name,
            configuration,
        };
        let process = plan.adopt_or_launch().await?;
        let (sender, state) = watch::channel(Server { up: true, pid: process.pid(), restarts: 0 });
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(keep_up(plan, process, sender, stop.clone()));
        Ok(Managed { port, state, stop, keeper })
    }

    /// The port that it listens at.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How it stands, with every change.
    pub fn state(&self) -> watch::Receiver<Server> {
        self.state.clone()
    }

    /// Has the server read its certificate files again.
    pub fn reload(&self) {
        process::signal(self.state.borrow().pid, process::Signal::HUP);
    }

    /// Stops the server cleanly; one that does not end within 10 s is killed.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.keeper.await {
            tracing::error!(error = %error, "keeper of nats-server failed");
        }
    }
}

/// All that is needed to start the same server again.
#[derive(Debug)]
struct Plan {
    program: PathBuf,
    directory: PathBuf,
    host: String,
    port: u16,
    name: String,
    configuration: Configuration,
}

impl Plan {
    async fn adopt_or_launch(&self) -> Result<Process, Error> {
        let path = self.configuration_path();
        if let Some(left) = process::left_over(&self.directory.join("nats-server.pid"), &self.directory).await
        {
            if left.runs_with(&path) && self.answers().await? {
                tracing::info!(pid = left.pid(), "adopted the nats-server of an earlier hub");
                return Ok(left);
            }
            tracing::info!(
                pid = left.pid(),
                "stopping the nats-server of an earlier hub, which ran with other settings"
            );
            left.end().await?;
        }
        self.write_configuration(&path)?;
        self.launch().await
    }

    async fn launch(&self) -> Result<Process, Error> {
        let failed = |source| Error::Start { program: self.program.clone(), source };
        if self.answers_at_all().await {
            return Err(Error::Foreign { address: self.address() });
        }
        let said = self.directory.join("nats-server.out");
        let out =
            std::fs::File::create(&said).map_err(|source| Error::Write { path: said.clone(), source })?;
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.configuration_path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(out.try_clone().map_err(failed)?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let mut process = Process::child(child);
        match self.wait_for(&mut process).await {
            Ok(()) => {
                tracing::info!(pid = process.pid(), port = self.port, "nats-server answers");
                Ok(process)
            }
            Err(error) => process.end().await.and(Err(error)),
        }
    }

    async fn wait_for(&self, process: &mut Process) -> Result<(), Error> {
        let until = Instant::now() + START_MAX;
        while !self.answers().await? {
            if process.has_ended() {
                return Err(Error::Ended { said: self.last_words() });
            }
            if Instant::now() >= until {
                let (address, seconds) = (self.address(), START_MAX.as_secs());
                return Err(Error::Silent { address, seconds, said: self.last_words() });
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// The digest stands in the file's name, hence in the arguments of the process: a server is known by it.
    fn configuration_path(&self) -> PathBuf {
        self.directory.join(format!("nats-server-{}.conf", self.configuration.digest.short()))
    }

    fn write_configuration(&self, path: &Path) -> Result<(), Error> {
        let failed = |source| Error::Write { path: path.to_owned(), source };
        for entry in std::fs::read_dir(&self.directory).map_err(failed)? {
            let old = entry.map_err(failed)?.path();
            let name = old.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("nats-server-") && old.extension().is_some_and(|end| end == "conf") {
                std::fs::remove_file(&old).map_err(failed)?;
            }
        }
        std::fs::write(path, &self.configuration.text).map_err(failed)
    }

    /// Whether our server answers; `false` if nobody does.
    async fn answers(&self) -> Result<bool, Error> {
        match process::info(&self.host, self.port).await {
            None => Ok(false),
            Some(info) if info["server_name"] == self.name.as_str() => Ok(true),
            Some(_) => Err(Error::Foreign { address: self.address() }),
        }
    }

    async fn answers_at_all(&self) -> bool {
        process::info(&self.host, self.port).await.is_some()
    }

    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The last line that the server wrote, to its output or its log, cut at 300 characters.
    fn last_words(&self) -> String {
        let last = |name: &str| {
            let text = std::fs::read(self.directory.join(name)).ok()?;
            let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
            let line = tail.lines().rev().find(|line| !line.trim().is_empty())?;
            Some(line.trim().chars().take(300).collect::<String>())
        };
        last("nats-server.out")
            .or_else(|| last("nats-server.log"))
            .unwrap_or_else(|| "it said nothing".to_owned())
    }
}

async fn keep_up(plan: Plan, mut process: Process, state: watch::Sender<Server>, stop: CancellationToken) {
    let mut pause = RESTART_PAUSE_MIN;
    loop {
        let since = Instant::now();
        tokio::select! {
            () = stop.cancelled() => {
                state.send_modify(|server| server.up = false);
                if let Err(error) = process.end().await {
                    tracing::error!(error = %error, "nats-server is left running");
                }
                return;
            }
            () = process.ended() => {}
        }
        if since.elapsed() >= STEADY {
            pause = RESTART_PAUSE_MIN;
        }
        state.send_modify(|server| *server = Server { up: false, pid: 0, restarts: server.restarts + 1 });
        tracing::error!(retry_in_ms = pause.as_millis(), "nats-server ended, will be started again");
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(RESTART_PAUSE_MAX);
            match plan.launch().await {
                Ok(fresh) => {
                    process = fresh;
                    break;
                }
                Err(error) => {
                    let retry_in_ms = pause.as_millis();
                    tracing::error!(error = %error, retry_in_ms, "nats-server does not start, will retry");
                }
            }
        }
        state.send_modify(|server| (server.up, server.pid) = (true, process.pid()));
    }
}

fn find(settings: &Settings) -> Result<PathBuf, Error> {
    let mut looked = Vec::new();
    let mut usable = |path: PathBuf| {
        let found = path.is_file();
        looked.push(path.display().to_string());
        found.then_some(path)
    };
    let found = match &settings.program {
        Some(program) => usable(program.clone()),
        None => std::env::current_exe()
            .ok()
            .and_then(|own| usable(own.with_file_name("nats-server")))
            .or_else(|| {
                std::env::split_paths(&settings.search).find_map(|folder| usable(folder.join("nats-server")))
            }),
    };
    found.ok_or_else(|| Error::NoProgram { looked: looked.join(", ") })
}

async fn ask_version(program: &Path) -> Result<(), Error> {
    let failed = |source| Error::Start { program: program.to_owned(), source };
    let asked =
        Command::new(program).arg("--version").env_clear().stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(VERSION_MAX, asked)
        .await
        .map_err(|late| failed(std::io::Error::new(std::io::ErrorKind::TimedOut, late)))?
        .map_err(failed)?;
    version::check(&String::from_utf8_lossy(&output.stdout))
}

fn free_port(settings: &Settings) -> Result<u16, Error> {
    let failed = |source| Error::Write { path: settings.directory.clone(), source };
    let listener = TcpListener::bind((settings.host.as_str(), 0)).map_err(failed)?;
    Ok(listener.local_addr().map_err(failed)?.port())
}

/// Where this machine reaches a server that listens at `host`.
fn reachable(host: &str) -> String {
    match host {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" | "[::]" => "::1".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use taffrail_runtime::nats::{Connection, First, Options, Tls, connect};

    use super::*;

    /// A certificate for this machine that is its own authority, and its key.
    fn certificate() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    async fn enter(
        keys: &Keys,
        port: u16,
        ca_pem: &str,
    ) -> Result<Connection, taffrail_runtime::nats::Error> {
        let options = Options {
            urls: vec![format!("tls://127.0.0.1:{port}")],
            login: keys.hub_login(At(0)).unwrap(),
            ca_pem: Some(ca_pem.to_owned()),
            name: "test".to_owned(),
            inbox_prefix: None,
            tls: Tls::Required,
            first: First::MustSucceed,
        };
        connect(options).await
    }

    #[tokio::test]
    async fn a_server_with_a_certificate_is_entered_by_those_who_trust_it() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::open(&directory.path().join("keys")).unwrap();
        let files = TlsFiles {
            certificate: directory.path().join("cert.pem"),
            key: directory.path().join("key.pem"),
        };
        let (pem, key) = certificate();
        std::fs::write(&files.certificate, &pem).unwrap();
        std::fs::write(&files.key, key).unwrap();
        let settings = Settings {
            directory: directory.path().join("nats"),
            program: None,
            search: std::env::var_os("PATH").unwrap().into_string().unwrap(),
            host: "127.0.0.1".to_owned(),
            port: 0,
            tls: Some(files.clone()),
            store_bytes_max: 1 << 20,
        };
        let server = Managed::start(settings, &keys, At(1_000)).await.unwrap();
        enter(&keys, server.port(), &pem).await.unwrap();
        let (other, other_key) = certificate();
        assert!(enter(&keys, server.port(), &other).await.is_err(), "another authority is not trusted");

        std::fs::write(&files.certificate, &other).unwrap();
        std::fs::write(&files.key, other_key).unwrap();
        server.reload();
        let reloaded = async {
            while enter(&keys, server.port(), &other).await.is_err() {
                sleep(LOOK).await;
            }
        };
        tokio::time::timeout(START_MAX, reloaded)
            .await
            .expect("a new certificate is taken without a restart");
        server.stop().await;
    }
}
