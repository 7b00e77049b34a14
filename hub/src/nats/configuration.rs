//! The configuration file of a nats-server that the hub runs.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use taffrail_core::digest::Digest;

use super::Error;
use super::accounts::PAYLOAD_MAX;
use super::keys::Preload;
use super::managed::Settings;

/// Memory that `JetStream` may take for streams in memory, in bytes. Ours are in files; the server wants a bound.
const MEMORY_STORE_MAX: u64 = 64 * 1024 * 1024;
/// The server's own log is turned over at this size, in bytes, and two old ones are kept.
const LOG_SIZE_MAX: u64 = 16 * 1024 * 1024;

/// The whole configuration, and a digest of it by which a running server is known again.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    pub(super) text: String,
    pub(super) digest: Digest,
}

/// Pause between the server's pings. A connection that is half open counts among those of its account until it is given up,
/// and keeps its own agent out: the server's usual two minutes and two pings are six minutes of that.
const PING_EVERY: Duration = Duration::from_secs(10);

/// Pings without an answer after which the server gives a connection up.
const PINGS_MAX: u32 = 2;

/// Writes down what the server shall be. The same settings and keys give the same text.
///
/// # Errors
/// [`Error::Unwritable`] for a path or host with a quote, a backslash or a control character.
pub(super) fn configuration(
    settings: &Settings,
    port: u16,
    name: &str,
    preload: &Preload,
) -> Result<Configuration, Error> {
    let mut text = String::new();
    let directory = &settings.directory;
    let mut line = |key: &str, value: String| {
        let _ = writeln!(text, "{key}: {value}");
    };
    line("server_name", quoted("server name", name)?);
    line("host", quoted("nats.host", &settings.host)?);
    line("port", port.to_string());
    line("max_payload", PAYLOAD_MAX.to_string());
    line("ping_interval", format!("\"{}s\"", PING_EVERY.as_secs()));
    line("ping_max", PINGS_MAX.to_string());
    line("pid_file", path("nats directory", &directory.join("nats-server.pid"))?);
    line("log_file", path("nats directory", &directory.join("nats-server.log"))?);
    line("logfile_size_limit", LOG_SIZE_MAX.to_string());
    line("logfile_max_num", "2".to_owned());
    line("operator", preload.operator.clone());
    line("system_account", preload.system.0.clone());
    let accounts = path("nats directory", &directory.join("accounts"))?;
    line("resolver", format!("{{ type: full, dir: {accounts}, allow_delete: true }}"));
    let ((system, system_jwt), (hub, hub_jwt)) = (&preload.system, &preload.hub);
    line("resolver_preload", format!("{{ {system}: {system_jwt}, {hub}: {hub_jwt} }}"));
    let store = path("nats directory", &directory.join("jetstream"))?;
    let file_max = settings.store_bytes_max;
    line(
        "jetstream",
        format!("{{ store_dir: {store}, max_memory_store: {MEMORY_STORE_MAX}, max_file_store: {file_max} }}"),
    );
    if let Some(tls) = &settings.tls {
        let certificate = path("nats.tls certificate", &tls.certificate)?;
        let key = path("nats.tls key", &tls.key)?;
        line(
            "tls",
            format!("{{ cert_file: {certificate}, key_file: {key}, min_version: \"1.2\", timeout: 5 }}"),
        );
    }
    let found = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let digest = Digest::from_slice(found.as_ref()).unwrap_or_default();
    Ok(Configuration { text, digest })
}

fn path(what: &'static str, path: &Path) -> Result<String, Error> {
    quoted(what, path.to_str().ok_or(Error::Unwritable { what })?)
}

fn quoted(what: &'static str, text: &str) -> Result<String, Error> {
    if text.chars().any(|c| c == '"' || c == '\\' || c == '$' || c.is_control()) {
        return Err(Error::Unwritable { what });
    }
    Ok(format!("\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_leave_its_quotes_is_refused() {
        for text in ["a\"b", "a\nb", "a\\b", "$HOME"] {
            assert!(matches!(quoted("x", text), Err(Error::Unwritable { .. })), "{text}");
        }
        assert_eq!(quoted("x", "/a b/c").unwrap(), "\"/a b/c\"");
    }
}
