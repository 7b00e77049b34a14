//! A hub in memory with a context file for it, and the binary.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use taffrail_proto::v1::fleet_server::FleetServer;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use crate::fake::Fake;

/// The token that the hub in memory knows.
pub(crate) const TOKEN: &str = "tat_right";

/// A hub in memory, and a folder with files of a person who uses it.
pub(crate) struct Hub {
    /// What it says and what it was told.
    pub(crate) fleet: Arc<Fake>,
    /// Folder of the context file.
    pub(crate) folder: tempfile::TempDir,
    /// The authority, as PEM.
    pub(crate) ca: String,
    /// Where it listens.
    pub(crate) url: String,
}

impl Hub {
    /// Starts one; it ends with the test's runtime.
    pub(crate) async fn start() -> Hub {
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let identity = Identity::from_pem(pair.cert.pem(), pair.signing_key.serialize_pem());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let fleet = Arc::new(Fake::new());
        let server = Server::builder()
            .tls_config(ServerTlsConfig::new().identity(identity))
            .unwrap()
            .add_service(FleetServer::from_arc(Arc::clone(&fleet)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let hub = Hub { fleet, folder: tempfile::tempdir().unwrap(), ca: pair.cert.pem(), url };
        hub.write("config.yaml", &hub.context(&hub.url, TOKEN));
        hub
    }

    /// A context file that names this hub's authority.
    pub(crate) fn context(&self, url: &str, token: &str) -> String {
        let ca = self.ca.trim_end().replace('\n', "\n      ");
        format!(
            "current-context: lab\ncontexts:\n  - name: lab\n    hub: {url}\n    ca: |\n      {ca}\n    token: {token}\n"
        )
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The binary with this hub's context, and nothing of the environment.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        command(&self.folder.path().join("config.yaml"), words)
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().await.unwrap()
    }
}

/// The binary with a context file, and nothing of the environment.
pub(crate) fn command(config: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
    command.args(words).env_clear().env("TZ", "UTC").env("TAFFRAIL_CONFIG", config);
    command.env("COLUMNS", "110").stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// What a command wrote and how it ended, in one text.
pub(crate) fn transcript(words: &[&str], output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let typed: Vec<String> = words
        .iter()
        .map(|word| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() })
        .collect();
    let mut all = format!("$ taffrail {}\n{}", typed.join(" "), text(&output.stdout));
    for line in text(&output.stderr).lines() {
        let _ = writeln!(all, "stderr: {line}"); // writing to a string cannot fail
    }
    let _ = writeln!(all, "exit code {}", output.status.code().unwrap_or(-1));
    all
}
