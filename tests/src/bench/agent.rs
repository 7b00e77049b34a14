//! What one agent needs: memory and CPU with 1,000 objects of 20 KB, and how soon what drifted is healed.
//!
//! The agent is the unchanged program with its hub and NATS; the cluster is the API server in memory, which counts requests
//! and forgets its history on order.

use super::probe::fsync_ms;
use super::usage::{Child, cpu_ms, resident_kb};
use super::{Report, Size};
use crate::harness::{Agent, Folder, GitServer, Hub, HubOptions, join, wait_for};
use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use taffrail_testkit::apiserver::{ApiServer, Fault, Options};
use tokio::sync::mpsc;

/// Objects of the app.
const OBJECTS: usize = 1_000;

/// Length of each, in bytes.
const OBJECT_BYTES: usize = 20_000;

/// Objects in one file of the repository: a megabyte.
const IN_A_FILE: usize = 50;

/// Where they are.
const NAMESPACE: &str = "web";

/// Longest wait for a fact.
const FACT_MAX: Duration = Duration::from_mins(5);

/// Between two edits: 20 each second.
const EDIT_EVERY: Duration = Duration::from_millis(50);

/// Edits, and deletions after them.
const EDITS: usize = 200;
const DELETIONS: usize = 50;

/// Runs the benchmark, idle for so long, and prints its table.
///
/// # Errors
/// When something did not happen at all; a missed bar is no error.
pub async fn run(size: Size, idle: Duration) -> Result<()> {
    let mut report =
        Report::new("agent", &format!("one agent, {OBJECTS} ConfigMaps of {OBJECT_BYTES} bytes"));
    let folder = Folder::new("bench-agent")?;
    let server = ApiServer::start(Options::default()).await.context("start an API server in memory")?;
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig())?;
    let git = GitServer::start(&folder, "fleet").await?;
    let hub = Hub::start(&folder.sub("hub")?, HubOptions::default()).await?;
    let token = join(&hub, "one", &[]).await?;
    git.commit("objects", &files(&git.url()))?;
    hub.done(&["source", "add", &git.url()]).await?;
    let mut agent = Agent::start(&folder.sub("agent")?, &kubeconfig, &hub, &token)?;
    let client = client(&kubeconfig).await?;
    let bare = Child::start("bare", &kubeconfig)?;
    delivered(&server, &agent).await?;
    memory(&mut report, &server, &agent, &bare, &kubeconfig).await?;
    idle_cpu(&mut report, &server, &agent, idle).await?;
    drift(&mut report, size, &server, &client, fsync_ms(folder.path())?).await?;
    restart(&mut report, &server, &mut agent).await?;
    report.finish()
}

/// A number of KB in MB.
fn mega(kb: u64) -> f64 {
    count(kb) / 1_024.0
}

/// A small number, exactly.
fn count(number: u64) -> f64 {
    u32::try_from(number).unwrap_or(u32::MAX).into()
}

fn pid(agent: &Agent) -> Result<u32> {
    agent.pid().context("the agent does not run")
}

/// Waits until everything is applied and reported.
async fn delivered(server: &ApiServer, agent: &Agent) -> Result<()> {
    wait_for("the delivery", FACT_MAX, async || {
        let applied = server.faults().count("apply", "configmaps") >= OBJECTS as u64;
        let (events, receipted) = (agent.metric("events").await?, agent.metric("events_receipted").await?);
        Ok((applied && events >= 3 && events == receipted).then_some(()))
    })
    .await
}

async fn memory(
    report: &mut Report,
    server: &ApiServer,
    agent: &Agent,
    bare: &Child,
    kubeconfig: &Path,
) -> Result<()> {
    let pid = pid(agent)?;
    let (steady, peak) = (resident_kb(pid, "VmRSS")?, resident_kb(pid, "VmHWM")?);
    // The whole of a relist: the watch ends, its version is gone, everything is listed again.
    let lists = server.faults().count("list", "configmaps");
    server.compact();
    server.faults().next(1, "watch", "configmaps", Fault::Expired);
    let reflector = Child::start("reflector", kubeconfig)?;
    wait_for("the agent lists again", FACT_MAX, async || {
        // The other list is the reflector's.
        Ok((server.faults().count("list", "configmaps") >= lists + 2).then_some(()))
    })
    .await?;
    reflector.ready(FACT_MAX).await?;
    let (after, again) = (resident_kb(pid, "VmRSS")?, resident_kb(pid, "VmHWM")?);
    let (bare, full) = (resident_kb(bare.pid(), "VmRSS")?, resident_kb(reflector.pid(), "VmRSS")?);
    report.value("memory, steady", "MB", mega(steady), Some(mega(bare)), 30.0);
    report.value("memory, peak", "MB", mega(peak.max(again)), Some(mega(full)), 45.0);
    report.value("memory, after a relist", "MB", mega(after), Some(mega(full)), 30.0);
    Ok(())
}

async fn idle_cpu(report: &mut Report, server: &ApiServer, agent: &Agent, idle: Duration) -> Result<()> {
    let (pid, before) = (pid(agent)?, server.faults().count("apply", "*"));
    let (begun, start) = (cpu_ms(pid)?, Instant::now());
    tokio::time::sleep(idle).await;
    let used = cpu_ms(pid)? - begun;
    ensure!(server.faults().count("apply", "*") == before, "something was written while nothing happened");
    let percent = used * 100.0 / (start.elapsed().as_secs_f64() * 1_000.0);
    report.value(&format!("CPU, idle {} s", idle.as_secs()), "%", percent, None, 0.5);
    Ok(())
}

/// What a bare client's watch showed.
struct Shown {
    name: String,
    /// The text in its data; `None` when it is gone.
    round: Option<String>,
    at: Instant,
}

async fn drift(
    report: &mut Report,
    size: Size,
    server: &ApiServer,
    client: &Client,
    probe: f64,
) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let (edits, deletions) = if size == Size::Smoke { (40, 10) } else { (EDITS, DELETIONS) };
    let mut shown = watch(maps.clone()).await?;
    server.faults().reset_counts();
    let mut begun = BTreeMap::new();
    let start = tokio::time::Instant::now();
    for number in 0..edits + deletions {
        tokio::time::sleep_until(start + EDIT_EVERY * u32::try_from(number)?).await;
        let name = name(number);
        begun.insert(name.clone(), Instant::now());
        if number < edits {
            let edit = json!({"data": {"round": "by hand"}});
            maps.patch(&name, &PatchParams::default(), &Patch::Merge(&edit)).await?;
        } else {
            maps.delete(&name, &DeleteParams::default()).await?;
        }
    }
    let (mut seen, mut healed) = (BTreeMap::new(), BTreeMap::new());
    while healed.len() < begun.len() {
        let Some(Shown { name, round, at }) = tokio::time::timeout(FACT_MAX, shown.recv()).await? else {
            bail!("the watch ended")
        };
        let Some(since) = begun.get(&name) else { continue };
        let took = at.duration_since(*since).as_secs_f64() * 1_000.0;
        if round.as_deref() == Some("0") {
            if seen.contains_key(&name) {
                healed.entry(name).or_insert(took);
            }
        } else {
            seen.entry(name).or_insert(took);
        }
    }
    let values = |of: &BTreeMap<String, f64>| of.values().copied().collect::<Vec<f64>>();
    let what = format!("drift healed, {edits} + {deletions}");
    report.absolute(&what, &values(&healed), &values(&seen), (250.0, 1_000.0), probe);
    let disturbed = |name: &String| begun.contains_key(name);
    let extra = server.faults().seen().into_iter().filter(|seen| {
        seen.verb == "apply" && seen.resource == "configmaps" && !seen.dry_run && !disturbed(&seen.name)
    });
    report.value("writes on undisturbed objects", "", count(extra.count() as u64), None, 0.0);
    Ok(())
}

/// A bare client's watch, once its list is complete.
async fn watch(maps: Api<ConfigMap>) -> Result<mpsc::UnboundedReceiver<Shown>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (listed, complete) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut stream = watcher(maps, watcher::Config::default()).boxed();
        let mut listed = Some(listed);
        while let Some(Ok(event)) = stream.next().await {
            let (object, gone) = match event {
                Event::Apply(object) => (object, false),
                Event::Delete(object) => (object, true),
                Event::InitDone => {
                    if let Some(listed) = listed.take()
                        && listed.send(()).is_err()
                    {
                        return;
                    }
                    continue;
                }
                Event::Init | Event::InitApply(_) => continue,
            };
            let name = object.metadata.name.unwrap_or_default();
            let round = object.data.unwrap_or_default().remove("round").filter(|_| !gone);
            if sender.send(Shown { name, round, at: Instant::now() }).is_err() {
                return;
            }
        }
    });
    complete.await.context("list with a bare client")?;
    Ok(receiver)
}

/// A restart with nothing disturbed: how much is written, and the memory after it.
async fn restart(report: &mut Report, server: &ApiServer, agent: &mut Agent) -> Result<()> {
    agent.stop().await?;
    server.faults().reset_counts();
    agent.restart()?;
    agent.ready(FACT_MAX).await?;
    wait_for("the agent reports again", FACT_MAX, async || {
        let (events, receipted) = (agent.metric("events").await?, agent.metric("events_receipted").await?);
        let listed = server.faults().count("list", "configmaps") > 0;
        Ok((listed && events == receipted).then_some(()))
    })
    .await?;
    let kb = resident_kb(pid(agent)?, "VmHWM")?;
    let writes = server.faults().count("apply", "configmaps");
    report.value("writes after a restart", "", count(writes), None, 0.0);
    report.value("memory, peak of a restart", "MB", mega(kb), None, 45.0);
    Ok(())
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn name(number: usize) -> String {
    format!("settings-{number:04}")
}

fn files(url: &str) -> Vec<(String, String)> {
    let app = format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: web, namespace: argocd}}\nspec:\n  \
         project: default\n  source: {{repoURL: {url}, path: app, targetRevision: main}}\n  \
         destination: {{server: https://kubernetes.default.svc, namespace: {NAMESPACE}}}\n  \
         syncPolicy: {{automated: {{prune: true, selfHeal: true}}, syncOptions: [CreateNamespace=true]}}\n"
    );
    let mut files = vec![
        ("clusters/one/kustomization.yaml".to_owned(), "resources: [apps.yaml]\n".to_owned()),
        ("clusters/one/apps.yaml".to_owned(), app),
    ];
    let object = |number: usize| {
        let head = format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {}}}\n", name(number));
        format!("{head}data: {{round: \"0\", text: \"{}\"}}\n", text(number))
    };
    for first in (0..OBJECTS).step_by(IN_A_FILE) {
        let objects: String = (first..first + IN_A_FILE).map(object).collect();
        files.push((format!("app/objects-{first:04}.yaml"), objects));
    }
    files
}

/// Text that packs to about a quarter, as configuration does.
fn text(seed: usize) -> String {
    let mut state = seed as u64 + 1;
    let mut text = String::with_capacity(OBJECT_BYTES + 16);
    while text.len() < OBJECT_BYTES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = WORDS[usize::try_from(state >> 33).unwrap_or_default() % WORDS.len()];
        text.push_str(word);
        text.push_str(if state >> 60 == 0 { "=" } else { " " });
    }
    text
}

const WORDS: [&str; 24] = [
    "timeout", "retries", "endpoint", "https", "cluster", "region", "payments", "level", "debug", "info",
    "enabled", "disabled", "seconds", "bytes", "maximum", "minimum", "7001", "8443", "0.25", "128", "cache",
    "replica", "primary", "east",
];
