//! Every setting of the agent with unit, default and bound; nothing else in the agent reads the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use taffrail_runtime::config::{self, Errors, Kind, Need, Setting, Sources, Table, Values};
use taffrail_runtime::telemetry::Format;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

const fn setting(key: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting { key, kind, default, need: Need::Optional, since: "0.1", doc }
}

const fn time(min: Duration, max: Duration) -> Kind {
    Kind::Duration { min, max }
}

/// All settings of the agent.
pub const TABLE: Table = Table {
    program: "taffrail-agent",
    prefix: "TAFFRAIL_AGENT_",
    reserved: &["CONFIG"],
    settings: &[
        Setting {
            need: Need::Required,
            ..setting(
                "hub.url",
                Kind::Url(&["https"]),
                "",
                "Where the hub answers, such as https://hub.example.org:8443.",
            )
        },
        setting(
            "hub.ca-file",
            Kind::Path,
            "",
            "Certificate authority of the hub (PEM) for the first request; afterwards the one that came with the credentials. Nothing else is trusted.",
        ),
        setting(
            "join.token-file",
            Kind::Path,
            "",
            "The one-time token. Needed once, until the agent has credentials.",
        ),
        setting(
            "state.dir",
            Kind::Path,
            "/var/lib/taffrail-agent",
            "Where the agent keeps its journal and, outside a cluster, its keys; made with mode 0700 if it is missing.",
        ),
        setting(
            "journal.file",
            Kind::Path,
            "",
            "The journal; the beginning of the cluster's account is put into its name. Without it: journal.redb in state.dir.",
        ),
        setting(
            "identity.store",
            Kind::Choice(&["auto", "secret", "directory"]),
            "auto",
            "Where keys and credentials are kept: a Secret in the agent's namespace, or state.dir. auto: the Secret inside a cluster, state.dir with a kubeconfig.",
        ),
        setting(
            "kube.config-file",
            Kind::Path,
            "",
            "A kubeconfig, for an agent outside the cluster. Without it: the service account of the pod.",
        ),
        setting(
            "kube.namespace",
            Kind::Text,
            "taffrail-system",
            "The agent's namespace: its Secrets, its Lease, its inventories.",
        ),
        setting(
            "kube.applier",
            Kind::Text,
            "taffrail-applier",
            "The service account in that namespace as which everything is applied.",
        ),
        setting(
            "kube.namespaces",
            Kind::List,
            "",
            "The namespaces to which the applier's rights are bound, if they are: live objects are watched there and nowhere else. Without any: the whole cluster.",
        ),
        setting(
            "kube.lease",
            Kind::Switch,
            "false",
            "Whether a Lease picks the one agent that acts; needed where several run, as in a DaemonSet.",
        ),
        setting(
            "kube.identity",
            Kind::Text,
            "",
            "What this agent calls itself in the Lease: the pod's name. Without it: a random one.",
        ),
        setting(
            "health.timeout",
            time(SECOND, Duration::from_hours(24)),
            "5m",
            "How long a new revision may take to become healthy before it counts as failed.",
        ),
        setting(
            "hub.heartbeat",
            time(SECOND, HOUR),
            "10s",
            "How often the agent reports that it lives; at most a third of the hub's cluster.lease.",
        ),
        setting(
            "outbox.bytes",
            Kind::Bytes { min: 64 << 10, max: 1 << 30 },
            "32MiB",
            "How many bytes of events wait for the hub at most. A quarter is kept for changes of state; what has no room is counted and told in one event.",
        ),
        setting(
            "listen.probes",
            Kind::Address,
            "127.0.0.1:8081",
            "Address of /livez, /readyz and /metrics (plain HTTP, no secrets).",
        ),
        setting(
            "shutdown.grace",
            time(SECOND, Duration::from_mins(10)),
            "25s",
            "Time to finish after SIGTERM; Kubernetes kills after 30s.",
        ),
        setting("log.format", Kind::Choice(&["human", "json"]), "human", "How log lines look."),
        setting(
            "log.filter",
            Kind::Text,
            "info,async_nats=warn",
            "Which log lines are written, such as info,taffrail_agent::kube=debug.",
        ),
        setting(
            "otlp.endpoint",
            Kind::Url(&["http"]),
            "",
            "Where traces go by OTLP over gRPC, such as http://127.0.0.1:4317. Without it they are not exported.",
        ),
    ],
};

/// What the command line of the agent has in common, whatever the command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// Settings file (YAML).
    #[arg(long, value_name = "FILE", env = "TAFFRAIL_AGENT_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Any setting, may be repeated; wins over environment and file.
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,
    /// Same as --set kube.config-file=FILE.
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<String>,
    /// Same as --set hub.url=URL.
    #[arg(long, value_name = "URL", global = true)]
    pub hub: Option<String>,
    /// Same as --set hub.ca-file=FILE.
    #[arg(long, value_name = "FILE", global = true)]
    pub hub_ca_file: Option<String>,
    /// Same as --set join.token-file=FILE.
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<String>,
    /// Same as --set state.dir=DIR.
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<String>,
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
            ("kube.config-file", &self.kubeconfig),
            ("hub.url", &self.hub),
            ("hub.ca-file", &self.hub_ca_file),
            ("join.token-file", &self.token_file),
            ("state.dir", &self.state_dir),
        ];
        for (key, value) in named {
            sources.flags.extend(value.iter().map(|value| (key.to_owned(), value.clone())));
        }
        config::load(&TABLE, &sources)
    }
}

/// Where keys and credentials are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// A Secret in the agent's namespace.
    Secret,
    /// Files in the state directory.
    Directory,
}

/// The agent's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the hub answers, no slash at the end.
    pub hub_url: String,
    /// Certificate authority of the hub for the first request.
    pub hub_ca_file: Option<PathBuf>,
    /// The one-time token.
    pub token_file: Option<PathBuf>,
    /// Journal, and keys outside a cluster.
    pub state_dir: PathBuf,
    /// The journal.
    pub journal: PathBuf,
    /// Where keys and credentials are kept.
    pub identity: StoreKind,
    /// The Kubernetes API.
    pub kube: Kube,
    /// How long a new revision may take to become healthy.
    pub health_timeout: Duration,
    /// How often the agent reports that it lives.
    pub heartbeat: Duration,
    /// How many bytes of events wait for the hub at most.
    pub outbox_bytes: u64,
    /// Address of probes and metrics.
    pub probes: SocketAddr,
    /// Time to finish after SIGTERM.
    pub grace: Duration,
    /// How log lines look.
    pub log_format: Format,
    /// Which log lines are written.
    pub log_filter: String,
    /// Where traces go.
    pub otlp: Option<String>,
}

/// The Kubernetes API.
#[derive(Clone, Debug)]
pub struct Kube {
    /// A kubeconfig; `None` for the pod's service account.
    pub config_file: Option<PathBuf>,
    /// The agent's namespace.
    pub namespace: String,
    /// User as which everything is applied: a service account in that namespace.
    pub applier: String,
    /// The namespaces that the applier's rights are bound to; none for the whole cluster.
    pub namespaces: Vec<String>,
    /// Whether a Lease picks the one agent that acts.
    pub lease: bool,
    /// What this agent calls itself in the Lease.
    pub identity: Option<String>,
}

impl Config {
    /// Reads checked values.
    ///
    /// # Panics
    /// Never: the values were checked.
    pub fn read(values: &Values) -> Config {
        let state_dir = PathBuf::from(values.given("state.dir"));
        let kube = kube(values);
        let inside = values.given("identity.store") == "auto" && kube.config_file.is_none();
        let identity = if inside || values.given("identity.store") == "secret" {
            StoreKind::Secret
        } else {
            StoreKind::Directory
        };
        Config {
            hub_url: values.given("hub.url").trim_end_matches('/').to_owned(),
            hub_ca_file: values.path("hub.ca-file"),
            token_file: values.path("join.token-file"),
            journal: values.path("journal.file").unwrap_or_else(|| state_dir.join("journal.redb")),
            state_dir,
            identity,
            kube,
            health_timeout: values.duration("health.timeout"),
            heartbeat: values.duration("hub.heartbeat"),
            outbox_bytes: values.bytes("outbox.bytes"),
            probes: values.given("listen.probes").parse().expect("the value was checked"),
            grace: values.duration("shutdown.grace"),
            log_format: Format::parse(values.given("log.format")).expect("the value was checked"),
            log_filter: values.given("log.filter").to_owned(),
            otlp: values.text("otlp.endpoint").map(str::to_owned),
        }
    }
}

fn kube(values: &Values) -> Kube {
    let text = |key| values.text(key).map(str::to_owned);
    let namespace = values.given("kube.namespace").to_owned();
    Kube {
        config_file: values.path("kube.config-file"),
        applier: format!("system:serviceaccount:{namespace}:{}", values.given("kube.applier")),
        namespace,
        namespaces: values.list("kube.namespaces"),
        lease: values.switch("kube.lease"),
        identity: text("kube.identity"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[(&str, &str)]) -> Result<Config, String> {
        let mut flags: Vec<_> =
            flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        flags.push(("hub.url".to_owned(), "https://hub:8443/".to_owned()));
        let sources = Sources { flags, ..Sources::default() };
        config::load(&TABLE, &sources)
            .map(|values| Config::read(&values))
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn inside_a_cluster_keys_go_to_a_secret_and_with_a_kubeconfig_to_the_state_directory() {
        for (flags, store) in [
            (&[][..], StoreKind::Secret),
            (&[("kube.config-file", "/k")], StoreKind::Directory),
            (&[("kube.config-file", "/k"), ("identity.store", "secret")], StoreKind::Secret),
            (&[("identity.store", "directory")], StoreKind::Directory),
        ] {
            assert_eq!(read(flags).unwrap().identity, store, "{flags:?}");
        }
    }

    #[test]
    fn defaults_fit_the_join_manifest() {
        let config = read(&[]).unwrap();
        assert_eq!(config.hub_url, "https://hub:8443");
        assert_eq!(config.journal, PathBuf::from("/var/lib/taffrail-agent/journal.redb"));
        assert_eq!(config.kube.applier, crate::kube::client::APPLIER);
        assert!(read(&[("hub.uri", "x")]).unwrap_err().contains("did you mean hub.url?"));
    }

    #[test]
    fn the_reference_page_holds_every_setting() {
        let page = std::fs::read_to_string("../docs/CONFIG.md").unwrap_or_default();
        let section = config::markdown(&TABLE);
        assert!(page.contains(&section), "docs/CONFIG.md differs from the table; its section is:\n{section}");
    }
}
