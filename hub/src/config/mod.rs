//! Every setting of the hub with unit, default and bound; nothing else in the hub reads the environment.

mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use taffrail_runtime::config::{self, Errors, Sources, Values};
use taffrail_runtime::telemetry::Format;

pub use table::TABLE;

/// What the command line of the hub has in common, whatever the command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// Settings file (YAML).
    #[arg(long, value_name = "FILE", env = "TAFFRAIL_HUB_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Any setting, may be repeated; wins over environment and file.
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,
    /// Same as --set data.dir=DIR.
    #[arg(long, value_name = "DIR", global = true)]
    pub data_dir: Option<String>,
    /// Same as --set listen.https=ADDRESS.
    #[arg(long, value_name = "ADDRESS", global = true)]
    pub listen: Option<String>,
    /// Same as --set advertise.https=NAMES.
    #[arg(long, value_name = "NAMES", global = true)]
    pub advertise: Option<String>,
}

impl Flags {
    /// Reads every setting from where it may come.
    ///
    /// # Errors
    /// Everything that is wrong with them, see `docs/errors/CONFIG-*.md`.
    pub fn values(&self) -> Result<Values, Errors> {
        let mut sources =
            Sources { file: self.config.clone(), environment: std::env::vars().collect(), flags: Vec::new() };
        for text in &self.set {
            sources.set(text)?;
        }
        let named = [
            ("data.dir", &self.data_dir),
            ("listen.https", &self.listen),
            ("advertise.https", &self.advertise),
        ];
        for (key, value) in named {
            sources.flags.extend(value.iter().map(|value| (key.to_owned(), value.clone())));
        }
        config::load(&TABLE, &sources)
    }
}

/// The hub's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the hub keeps its log, keys and mirrors.
    pub data_dir: PathBuf,
    /// Disk space in bytes below which nothing is recorded.
    pub reserve_bytes: u64,
    /// Address for everything over HTTPS.
    pub listen: SocketAddr,
    /// Host names or addresses of the hub, without scheme and port; never empty.
    pub names: Vec<String>,
    /// URL of the hub for agents, with its port, no slash at the end.
    pub url: String,
    /// The NATS server.
    pub nats: Nats,
    /// Following repositories.
    pub git: Git,
    /// Renderers.
    pub render: Render,
    /// Certificates of one's own; `None` for the built-in authority.
    pub tls: Option<OwnTls>,
    /// Silence after which a cluster is Unknown.
    pub lease: Duration,
    /// How long a join token is valid.
    pub token_ttl: Duration,
    /// How long an agent's NATS credential is valid.
    pub credential_ttl: Duration,
    /// Image of the agent in join manifests.
    pub agent_image: String,
    /// How many last indexes keep their bundles in NATS.
    pub indexes_kept: u64,
    /// Time to finish after SIGTERM.
    pub grace: Duration,
    /// Where the administrator's context is written; `None`: where the CLI of this user looks.
    pub admin_context: Option<PathBuf>,
    /// How log lines look.
    pub log_format: Format,
    /// Which log lines are written.
    pub log_filter: String,
    /// Where traces go.
    pub otlp: Option<String>,
}

/// The NATS server.
#[derive(Clone, Debug)]
pub struct Nats {
    /// URLs for agents, in the order to try; never empty.
    pub advertise: Vec<String>,
    /// Which server.
    pub server: NatsServer,
}

/// Which NATS server the hub uses.
#[derive(Clone, Debug)]
pub enum NatsServer {
    /// A child of the hub.
    Managed {
        /// Path or name of the program.
        program: String,
        /// Its client address.
        listen: SocketAddr,
    },
    /// A server that someone else runs.
    Outside {
        /// Where it is.
        url: String,
        /// Seed of the operator's signing key.
        operator_key_file: PathBuf,
        /// A user of its system account.
        system_creds_file: PathBuf,
        /// Its certificate authority.
        ca_file: Option<PathBuf>,
    },
}

/// Following repositories.
#[derive(Clone, Debug)]
pub struct Git {
    /// Pause between looks at one repository.
    pub poll: Duration,
    /// Longest time for one fetch.
    pub fetch_timeout: Duration,
    /// Whether `file` URLs are allowed.
    pub allow_file: bool,
    /// Secrets of the webhook, one a line.
    pub webhook_secrets_file: Option<PathBuf>,
}

/// Renderers.
#[derive(Clone, Debug)]
pub struct Render {
    /// Path or name of the kustomize program.
    pub kustomize: String,
    /// Longest time for one rendering.
    pub timeout: Duration,
    /// Largest output, bytes.
    pub output_bytes_max: u64,
    /// Address space of one renderer, bytes.
    pub memory_bytes_max: u64,
    /// Renderers at one time.
    pub parallel: usize,
}

/// Certificates of one's own, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnTls {
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Authorities by which agents recognise it.
    pub ca: PathBuf,
}

impl Config {
    /// Reads checked values, and checks what several of them must be together.
    ///
    /// # Errors
    /// Everything that does not go together.
    ///
    /// # Panics
    /// Never: the values were checked.
    pub fn read(values: &Values) -> Result<Config, Errors> {
        let mut errors = Vec::new();
        let listen = address(values, "listen.https");
        let names = names(values);
        let url = url(values, &names, listen);
        let nats = nats(values, &names, &mut errors);
        let tls = own_tls(values, &mut errors);
        if !errors.is_empty() {
            return Err(Errors { errors });
        }
        Ok(Config {
            data_dir: values.given("data.dir").into(),
            reserve_bytes: values.bytes("log.reserve"),
            listen,
            names,
            url,
            nats,
            git: git(values),
            render: render(values),
            tls,
            lease: values.duration("cluster.lease"),
            token_ttl: values.duration("join.token-ttl"),
            credential_ttl: values.duration("join.credential-ttl"),
            agent_image: values.given("join.image").to_owned(),
            indexes_kept: values.count("retention.indexes"),
            grace: values.duration("shutdown.grace"),
            admin_context: values.path("admin.context-file"),
            log_format: Format::parse(values.given("log.format")).expect("the value was checked"),
            log_filter: values.given("log.filter").to_owned(),
            otlp: values.text("otlp.endpoint").map(str::to_owned),
        })
    }
}

fn address(values: &Values, key: &str) -> SocketAddr {
    values.given(key).parse().expect("the value was checked")
}

/// Host part of a name, an address or a URL, and the port if one is written.
fn host_and_port(text: &str) -> (String, Option<u16>) {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split('/').next().unwrap_or_default();
    let split = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match split {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (plain(host), Some(port)),
        _ => (plain(text), None),
    }
}

fn plain(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// A host as it stands in a URL: IPv6 addresses in brackets.
fn in_url(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn names(values: &Values) -> Vec<String> {
    let mut names: Vec<String> =
        values.list("advertise.https").iter().map(|text| host_and_port(text).0).collect();
    if names.is_empty() {
        names.push("localhost".to_owned());
    }
    names
}

fn url(values: &Values, names: &[String], listen: SocketAddr) -> String {
    let first = values.list("advertise.https").into_iter().next().unwrap_or_default();
    let port = match host_and_port(&first).1 {
        Some(port) => port,
        None if first.starts_with("https://") => 443,
        None => listen.port(),
    };
    format!("https://{}:{port}", in_url(&names[0]))
}

fn nats(values: &Values, names: &[String], errors: &mut Vec<config::Error>) -> Nats {
    let mut advertise = values.list("advertise.nats");
    let server = if values.switch("nats.managed") {
        let listen = address(values, "nats.listen");
        if advertise.is_empty() {
            advertise.push(format!("tls://{}:{}", in_url(&names[0]), listen.port()));
        }
        NatsServer::Managed { program: values.given("nats.program").to_owned(), listen }
    } else {
        let mut need = |key: &str| {
            let value = values.text(key).unwrap_or_default().to_owned();
            if value.is_empty() {
                let rule = "an outside NATS server (nats.managed=false) needs it".to_owned();
                errors.push(config::Error::Missing { key: key.to_owned(), rule });
            }
            value
        };
        let url = need("nats.url");
        let operator_key_file = need("nats.operator-key-file").into();
        let system_creds_file = need("nats.system-creds-file").into();
        if advertise.is_empty() {
            advertise.push(url.clone());
        }
        NatsServer::Outside {
            url,
            operator_key_file,
            system_creds_file,
            ca_file: values.path("nats.ca-file"),
        }
    };
    Nats { advertise, server }
}

fn own_tls(values: &Values, errors: &mut Vec<config::Error>) -> Option<OwnTls> {
    let keys = ["tls.certificate", "tls.key", "tls.ca"];
    match keys.map(|key| values.path(key)) {
        [None, None, None] => None,
        [Some(certificate), Some(key), Some(ca)] => Some(OwnTls { certificate, key, ca }),
        given => {
            let missing = keys.iter().zip(given).filter(|(_, path)| path.is_none());
            errors.extend(missing.map(|(key, _)| config::Error::Missing {
                key: (*key).to_owned(),
                rule: "tls.certificate, tls.key and tls.ca go together".to_owned(),
            }));
            None
        }
    }
}

fn git(values: &Values) -> Git {
    Git {
        poll: values.duration("git.poll"),
        fetch_timeout: values.duration("git.fetch-timeout"),
        allow_file: values.switch("git.allow-file"),
        webhook_secrets_file: values.path("git.webhook-secrets-file"),
    }
}

fn render(values: &Values) -> Render {
    Render {
        kustomize: values.given("render.kustomize").to_owned(),
        timeout: values.duration("render.timeout"),
        output_bytes_max: values.bytes("render.output-max"),
        memory_bytes_max: values.bytes("render.memory-max"),
        parallel: usize::try_from(values.count("render.parallel")).expect("the bound is 64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[(&str, &str)]) -> Result<Config, String> {
        let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let values =
            config::load(&TABLE, &Sources { flags, ..Sources::default() }).map_err(|e| e.to_string())?;
        Config::read(&values).map_err(|errors| errors.to_string())
    }

    #[test]
    fn the_defaults_are_a_working_hub_on_one_machine() {
        let config = read(&[]).unwrap();
        assert_eq!(config.url, "https://localhost:8443");
        assert_eq!(config.nats.advertise, ["tls://localhost:4222"]);
        assert_eq!((config.lease.as_secs(), config.git.poll.as_secs()), (30, 30));
        assert_eq!(config.tls, None);
    }

    #[test]
    fn the_url_for_agents_follows_from_what_is_advertised() {
        for (advertise, url, nats) in [
            ("hub.example.org", "https://hub.example.org:8443", "tls://hub.example.org:4222"),
            ("hub.example.org:9443, other", "https://hub.example.org:9443", "tls://hub.example.org:4222"),
            ("https://hub.example.org/", "https://hub.example.org:443", "tls://hub.example.org:4222"),
            ("10.0.0.7", "https://10.0.0.7:8443", "tls://10.0.0.7:4222"),
            ("[fd00::1]:9443", "https://[fd00::1]:9443", "tls://[fd00::1]:4222"),
            ("fd00::1", "https://[fd00::1]:8443", "tls://[fd00::1]:4222"),
        ] {
            let config = read(&[("advertise.https", advertise)]).unwrap();
            assert_eq!((config.url.as_str(), config.nats.advertise[0].as_str()), (url, nats));
        }
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused_by_name() {
        for (flags, told) in [
            (&[("nats.managed", "false")][..], "nats.url is missing"),
            (&[("tls.certificate", "/c.pem"), ("tls.key", "/k.pem")], "tls.ca is missing"),
            (&[("git.poll", "4s")], "git.poll cannot be \"4s\""),
            (&[("git.pol", "40s")], "did you mean git.poll?"),
        ] {
            let error = read(flags).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn the_reference_page_holds_every_setting() {
        let page = std::fs::read_to_string("../docs/CONFIG.md").unwrap_or_default();
        let section = config::markdown(&TABLE);
        assert!(page.contains(&section), "docs/CONFIG.md differs from the table; its section is:\n{section}");
    }
}
