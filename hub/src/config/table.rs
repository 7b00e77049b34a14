//! The table of settings.

use std::time::Duration;

use taffrail_runtime::config::{Kind, Need, Setting, Table};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const MIB: u64 = 1 << 20;

const fn setting(key: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting { key, kind, default, need: Need::Optional, since: "0.1", doc }
}

const fn time(min: Duration, max: Duration) -> Kind {
    Kind::Duration { min, max }
}

/// All settings of the hub.
pub const TABLE: Table = Table {
    program: "taffrail-hub",
    prefix: "TAFFRAIL_HUB_",
    reserved: &["CONFIG"],
    settings: &[
        setting(
            "data.dir",
            Kind::Path,
            "/var/lib/taffrail-hub",
            "Where the hub keeps its log, keys and mirrors; made with mode 0700 if it is missing.",
        ),
        setting(
            "log.reserve",
            Kind::Bytes { min: crate::log::RESERVE_MIN, max: 1 << 40 },
            "1GiB",
            "Disk space below which the hub records nothing: it gives no receipts and takes no orders, but answers questions, and goes on by itself when there is an eighth more. At least 256MiB, what may be on its way to the disk then.",
        ),
        setting(
            "listen.https",
            Kind::Address,
            "0.0.0.0:8443",
            "Address for gRPC, HTTP, webhooks, joining and metrics, all TLS.",
        ),
        setting(
            "advertise.https",
            Kind::List,
            "",
            "Host names, addresses or https URLs under which agents and people reach the hub; the first one goes into join manifests, all go into the built-in certificate. Without one: localhost.",
        ),
        setting(
            "advertise.nats",
            Kind::List,
            "",
            "URLs under which agents reach NATS, such as tls://hub.example.org:4222, in the order to try. Without one: the host of advertise.https and the port of nats.listen.",
        ),
        setting("nats.managed", Kind::Switch, "true", "Whether the hub runs a nats-server of its own."),
        setting(
            "nats.program",
            Kind::Text,
            "nats-server",
            "The server program of nats.managed: a path, or a name that is looked for in PATH.",
        ),
        setting("nats.listen", Kind::Address, "0.0.0.0:4222", "Client address of the managed server."),
        setting(
            "nats.url",
            Kind::Url(&["tls", "nats"]),
            "",
            "An outside NATS server; needs nats.managed=false and the two files below.",
        ),
        setting(
            "nats.operator-key-file",
            Kind::Path,
            "",
            "Seed of the operator's signing key for an outside server (an nkey that begins with SO).",
        ),
        setting(
            "nats.system-creds-file",
            Kind::Path,
            "",
            "Credentials of a user of the system account of an outside server.",
        ),
        setting(
            "nats.ca-file",
            Kind::Path,
            "",
            "Certificate authority (PEM) of an outside server. Without it: that of the hub.",
        ),
        setting(
            "git.poll",
            time(Duration::from_secs(5), DAY),
            "30s",
            "Pause between looks at one repository; at least 5s, because hosts limit requests. Webhooks do not wait for it.",
        ),
        setting("git.fetch-timeout", time(SECOND, HOUR), "2m", "Longest time for one fetch."),
        setting(
            "git.allow-file",
            Kind::Switch,
            "false",
            "Whether file URLs may be declared as sources; they let whoever declares one read the hub's disk.",
        ),
        setting(
            "git.webhook-secrets-file",
            Kind::Path,
            "",
            "Secrets of POST /hooks/git, one a line, all of them valid, so that one can be changed without a gap. Without it webhooks are refused.",
        ),
        setting(
            "render.kustomize",
            Kind::Text,
            "kustomize",
            "The kustomize program: a path, or a name that is looked for in PATH.",
        ),
        setting(
            "render.timeout",
            time(SECOND, HOUR),
            "60s",
            "Longest time for one rendering; the renderer is killed with its children.",
        ),
        setting(
            "render.output-max",
            Kind::Bytes { min: 64 << 10, max: 256 * MIB },
            "32MiB",
            "Largest output of one rendering.",
        ),
        setting(
            "render.memory-max",
            Kind::Bytes { min: 64 * MIB, max: 64 << 30 },
            "1GiB",
            "Address space of one renderer.",
        ),
        setting("render.parallel", Kind::Count { min: 1, max: 64 }, "2", "Renderers at one time."),
        setting(
            "tls.certificate",
            Kind::Path,
            "",
            "Certificate chain (PEM) of one's own instead of the built-in authority; reloaded when the file changes. Needs tls.key and tls.ca.",
        ),
        setting("tls.key", Kind::Path, "", "Private key (PEM) of tls.certificate."),
        setting(
            "tls.ca",
            Kind::Path,
            "",
            "Authorities (PEM) by which agents recognise tls.certificate; they go into join manifests.",
        ),
        setting(
            "cluster.lease",
            time(Duration::from_secs(3), HOUR),
            "30s",
            "Silence after which a cluster is Unknown: three heartbeats, one lost to an agent's restart, one to NATS, one spare.",
        ),
        setting("join.token-ttl", time(SECOND, DAY), "1h", "How long a join token is valid."),
        setting(
            "join.credential-ttl",
            time(Duration::from_mins(1), DAY),
            "24h",
            "How long an agent's NATS credential is valid; renewed when a third of it is left.",
        ),
        setting(
            "join.image",
            Kind::Text,
            "ghcr.io/taffrail/agent:0.1.0",
            "Image of the agent in join manifests.",
        ),
        setting(
            "retention.indexes",
            Kind::Count { min: 2, max: 1_000 },
            "10",
            "A bundle leaves NATS when none of this many last indexes of any cluster names it.",
        ),
        setting(
            "shutdown.grace",
            time(SECOND, Duration::from_mins(10)),
            "25s",
            "Time to finish after SIGTERM; Kubernetes kills after 30s.",
        ),
        setting(
            "admin.context-file",
            Kind::Path,
            "",
            "Where the first start writes the administrator's context for the taffrail CLI. Without it: where the CLI of this user looks.",
        ),
        setting("log.format", Kind::Choice(&["human", "json"]), "human", "How log lines look."),
        setting(
            "log.filter",
            Kind::Text,
            "info,async_nats=warn",
            "Which log lines are written, such as info,taffrail_hub::git=debug.",
        ),
        setting(
            "otlp.endpoint",
            Kind::Url(&["http"]),
            "",
            "Where traces go by OTLP over gRPC, such as http://127.0.0.1:4317. Without it they are not exported.",
        ),
    ],
};
