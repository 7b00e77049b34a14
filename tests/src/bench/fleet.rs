//! One commit to a hundred agents: whole agents as tasks of one process, each with an API server in memory that answers after
//! 5 ms, a real hub and a real nats-server.
//!
//! The agents' journals lie in memory: in a fleet each has a disk of its own, here they would share the hub's.

use super::probe::fsync_ms;
use super::{Report, Size, median, percentile};
use crate::harness::{Folder, GitServer, Hub, HubOptions, join, wait_for};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};
use taffrail_agent::config::{Config, Flags};
use taffrail_testkit::apiserver::{ApiServer, Options};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What each API server waits before it answers.
const ANSWER: Duration = Duration::from_millis(5);

/// Longest time to the last cluster (issue 4), in milliseconds.
const BAR_MS: f64 = 2_000.0;

/// Most fsyncs of the hub's log for a commit and every index that it raises, per 100 clusters (issue 4).
const SYNCS_BAR: f64 = 3.0;

/// Longest wait for one commit, and for the fleet to come up.
const ROUND_MAX: Duration = Duration::from_mins(3);

/// Objects of the app.
const OBJECTS: usize = 10;

/// A cluster with its agent.
struct Member {
    api: ApiServer,
    agent: JoinHandle<Result<()>>,
}

/// Runs the benchmark and prints its table.
///
/// # Errors
/// When a commit did not arrive; a missed bar is no error.
pub async fn run(size: Size) -> Result<()> {
    let (clusters, rounds) = if size == Size::Smoke { (10, 2) } else { (100, 10) };
    let (folder, memory) = (Folder::new("bench-fleet")?, tempfile::tempdir_in("/dev/shm")?);
    let git = GitServer::start(&folder, "fleet").await?;
    git.commit("begin", &files(&git.url(), 0))?;
    let hub = Hub::start(&folder.sub("hub")?, HubOptions::default()).await?;
    hub.done(&["source", "add", &git.url()]).await?;
    let stop = CancellationToken::new();
    let mut members = Vec::new();
    for number in 0..clusters {
        members.push(member(&hub, memory.path(), number, &stop).await?);
    }
    arrived(&hub, &members, 0).await?;
    let headline =
        format!("one commit of {OBJECTS} objects to {clusters} agents in one process, {rounds} rounds");
    let mut report = Report::bounded("fleet", &headline);
    let (mut first, mut last, mut own, mut all) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        git.commit(&format!("round {round}"), &files(&git.url(), round))?;
        let (before, begun) = (syncs(&hub).await?, Instant::now());
        hub.announce(&git.url()).await?;
        let took = arrived(&hub, &members, round).await?;
        first.push(took.first.duration_since(begun).as_secs_f64() * 1_000.0);
        last.push(took.last.duration_since(begun).as_secs_f64() * 1_000.0);
        let after = syncs(&hub).await?;
        own.push(after.0 - before.0);
        all.push(after.0 + after.1 - before.0 - before.1);
    }
    let probe = fsync_ms(folder.path())?;
    report.bound("commit to first cluster applied", &first, &[], BAR_MS, probe);
    report.bound("commit to last cluster applied", &last, &[], BAR_MS, probe);
    let share = 100.0 / f64::from(u32::try_from(clusters)?);
    let note = format!(
        "fsyncs of the hub's log per 100 clusters, median: {:.1} for the commit and its indexes (bar {SYNCS_BAR}), {:.1} with those for all reports; most {:.1} and {:.1}",
        median(&own) * share,
        median(&all) * share,
        percentile(&own, 100) * share,
        percentile(&all, 100) * share
    );
    let syncs = (median(&own) * share, median(&all) * share);
    report.note(&note, &serde_json::json!({"what": "fleet", "params": "fsyncs per 100 clusters", "ours": syncs.0, "reported": syncs.1, "bar": SYNCS_BAR}));
    let (now, peak) = memory_of(hub.pid().context("the hub does not run")?)?;
    report.note(
        &format!("memory of the hub with {clusters} clusters: {now} MiB resident, {peak} MiB at most"),
        &serde_json::json!({"what": "fleet", "params": "hub memory", "ours": now, "most": peak, "unit": "MiB"}),
    );
    stop.cancel();
    for member in members {
        member.agent.await??;
    }
    report.finish()
}

/// Joins a cluster and starts its agent.
async fn member(hub: &Hub, folder: &Path, number: usize, stop: &CancellationToken) -> Result<Member> {
    let name = format!("c{number:03}");
    let token = join(hub, &name, &[("tier", "edge")]).await?;
    let folder = folder.join(&name);
    fs::create_dir_all(&folder)?;
    let api = ApiServer::start(Options::default()).await?;
    api.faults().set_latency(ANSWER);
    let file = |name: &str, text: &str| -> Result<String> {
        let path = folder.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path.display().to_string())
    };
    let flags = Flags {
        kubeconfig: Some(file("kubeconfig", &api.kubeconfig())?),
        hub: Some(hub.url().to_owned()),
        hub_ca_file: Some(file("ca.crt", &token.ca_pem)?),
        token_file: Some(file("token", &token.token)?),
        state_dir: Some(folder.join("state").display().to_string()),
        set: vec!["listen.probes=127.0.0.1:0".to_owned()],
        ..Flags::default()
    };
    let config = Config::read(&flags.values()?);
    let stop = stop.clone();
    let agent = tokio::spawn(async move { taffrail_agent::run::until(&config, stop).await });
    Ok(Member { api, agent })
}

/// When a round arrived.
struct Arrived {
    first: Instant,
    last: Instant,
}

/// Waits until every cluster has every object of a round, and the hub knows it.
async fn arrived(hub: &Hub, members: &[Member], round: usize) -> Result<Arrived> {
    let wanted = round.to_string();
    let has = |member: &Member| {
        (0..OBJECTS).all(|number| {
            let object = member.api.object("v1", "ConfigMap", "shop", &format!("settings-{number}"));
            object.is_some_and(|object| object["data"]["round"] == *wanted)
        })
    };
    let begun = Instant::now();
    let (mut waiting, mut first): (Vec<&Member>, _) = (members.iter().collect(), None);
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|member| !has(member));
        if waiting.len() < before && first.is_none() {
            first = Some(Instant::now());
        }
        ensure!(begun.elapsed() < ROUND_MAX, "{} clusters never got round {round}", waiting.len());
        for member in &waiting {
            ensure!(!member.agent.is_finished(), "an agent ended");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let last = Instant::now();
    wait_for("every cluster has reported", ROUND_MAX, async || {
        let apps = hub.json(&["get", "app", "shop", "-o", "json"]).await;
        let Ok(found) = apps else { return Ok(None) };
        let app = if found["items"].is_array() { &found["items"][0] } else { &found };
        Ok((app["instancesSynced"] == members.len()).then_some(()))
    })
    .await?;
    Ok(Arrived { first: first.unwrap_or(last), last })
}

/// Fsyncs of the hub's log since its start, as its metrics say: for events of the hub's own, and for reports alone.
async fn syncs(hub: &Hub) -> Result<(f64, f64)> {
    let (_, text) = hub.get("/metrics").await?;
    let count = |events: &str| -> Result<f64> {
        let name = format!("taffrail_hub_log_syncs_total{{events=\"{events}\"}} ");
        let number = text.lines().find_map(|line| line.strip_prefix(&name));
        Ok(number.with_context(|| format!("find the metric {name}"))?.parse()?)
    };
    Ok((count("own")?, count("reported")?))
}

/// Resident memory of a process and its peak, in MiB.
fn memory_of(pid: u32) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<u64> {
        let line =
            status.lines().find(|line| line.starts_with(name)).context("find a field of the status")?;
        Ok(line.split_whitespace().nth(1).context("read a field of the status")?.parse::<u64>()? >> 10)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

fn files(url: &str, round: usize) -> Vec<(String, String)> {
    let app = format!(
        "apiVersion: taffrail.dev/v1alpha1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  \
         source: {{repoURL: {url}, path: apps/shop, targetRevision: main}}\n  \
         clusters: {{matchLabels: {{tier: edge}}}}\n  destination: {{namespace: shop}}\n  \
         syncPolicy: {{automated: {{prune: true, selfHeal: true}}, syncOptions: [CreateNamespace=true]}}\n"
    );
    let one = |number| {
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings-{number}}}\ndata: {{round: \"{round}\"}}\n"
        )
    };
    let objects = (0..OBJECTS).map(one).collect::<Vec<_>>().concat();
    vec![
        ("shop.yaml".to_owned(), app),
        ("apps/shop/kustomization.yaml".to_owned(), "resources: [objects.yaml]\n".to_owned()),
        ("apps/shop/objects.yaml".to_owned(), objects),
    ]
}
