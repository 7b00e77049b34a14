//! From a push to the last object applied: 10, 50 and 200 objects on one real cluster.

use super::floor::Floor;
use super::probe::fsync_ms;
use super::{Report, Size};
use crate::cluster::{Cluster, Options, Programs};
use crate::harness::{Agent, Folder, GitServer, Hub, HubOptions, join, wait_for};
use anyhow::{Context as _, Result, bail};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ListParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Numbers of objects in the app.
const COUNTS: [usize; 3] = [10, 50, 200];

/// At most this share of the floor (issue of the first release).
const BAR: f64 = 1.5;

/// Longest wait for one commit.
const ROUND_MAX: Duration = Duration::from_mins(1);

/// Runs the benchmark and prints its table.
///
/// # Errors
/// When something did not happen at all; a missed bar is no error.
pub async fn run(size: Size) -> Result<()> {
    let rounds = if size == Size::Smoke { 3 } else { 15 };
    let counts = if size == Size::Smoke { &COUNTS[..1] } else { &COUNTS[..] };
    let headline = format!(
        "commit to applied, 1 cluster, ConfigMaps, {rounds} rounds, interleaved with fetch + build + apply"
    );
    let mut report = Report::new("commit", &headline);
    let folder = Folder::new("bench")?;
    let cluster = Cluster::start(Options::default()).await?;
    let git = GitServer::start(&folder, "fleet").await?;
    let hub = Hub::start(&folder.sub("hub")?, HubOptions::default()).await?;
    let token = join(&hub, "one", &[]).await?;
    let mut files: Vec<(String, String)> = Vec::new();
    files.push(("clusters/one/kustomization.yaml".to_owned(), "resources: [apps.yaml]\n".to_owned()));
    files.push(("clusters/one/apps.yaml".to_owned(), applications(counts, &git.url())));
    for count in counts {
        files.extend(objects(*count, 0));
    }
    git.commit("objects", &files)?;
    hub.done(&["source", "add", &git.url()]).await?;
    let agent = Agent::start(&folder.sub("agent")?, &cluster.kubeconfig_path(), &hub, &token)?;
    let client = cluster.client().await?;
    for count in counts {
        let (ours, beside) = measure(&folder, &git, &hub, &client, *count, rounds).await?;
        report.add(&format!("{count} objects"), &ours, &beside, BAR, fsync_ms(folder.path())?);
    }
    drop(agent);
    report.finish()
}

async fn measure(
    folder: &Folder,
    git: &GitServer,
    hub: &Hub,
    client: &Client,
    count: usize,
    rounds: usize,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let name = format!("n{count}");
    let floor_name = format!("floor-{count}");
    let namespace = Namespace {
        metadata: kube::core::ObjectMeta { name: Some(floor_name.clone()), ..Default::default() },
        ..Default::default()
    };
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    let objects_of: Api<ConfigMap> = Api::namespaced(client.clone(), &name);
    wait_for("the first delivery", ROUND_MAX, async || {
        let found = objects_of.list(&ListParams::default()).await?;
        Ok((found.items.len() > count).then_some(())) // and kube-root-ca.crt
    })
    .await?;
    let kustomize = Programs::find().kustomize()?;
    let floor = Floor::new(&git.url(), &folder.sub(&floor_name)?, kustomize, client.clone(), &floor_name)?;
    let (mut ours, mut beside) = (Vec::new(), Vec::new());
    for round in 1..=rounds + 1 {
        git.commit(&format!("round {round} of {count}"), &objects(count, round))?;
        let (watched, url) = (applied(objects_of.clone(), count, round), git.url());
        let start = Instant::now();
        let (announced, seen) = tokio::join!(hub.announce(&url), tokio::time::timeout(ROUND_MAX, watched));
        announced?;
        seen.context("wait for the commit to be applied")??;
        let took = start.elapsed().as_secs_f64() * 1_000.0;
        let floor_took = floor.round(&format!("apps/{name}")).await?;
        if round > 1 {
            ours.push(took);
            beside.push(floor_took);
        }
    }
    Ok((ours, beside))
}

/// Ends when an independent watch has seen every object at this round.
async fn applied(objects: Api<ConfigMap>, count: usize, round: usize) -> Result<()> {
    let wanted = round.to_string();
    let mut seen: BTreeMap<String, bool> = BTreeMap::new();
    let stream = watcher(objects, watcher::Config::default()).default_backoff().applied_objects();
    let mut stream = std::pin::pin!(stream);
    while let Some(object) = stream.try_next().await? {
        let at =
            object.data.as_ref().and_then(|data| data.get("round")).is_some_and(|round| *round == wanted);
        if at {
            seen.insert(object.metadata.name.unwrap_or_default(), true);
        }
        if seen.len() == count {
            return Ok(());
        }
    }
    bail!("the watch ended")
}

fn applications(counts: &[usize], url: &str) -> String {
    let one = |count: &usize| {
        format!(
            "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: n{count}, namespace: argocd}}\nspec:\n  \
             project: default\n  source: {{repoURL: {url}, path: apps/n{count}, targetRevision: main}}\n  \
             destination: {{server: https://kubernetes.default.svc, namespace: n{count}}}\n  \
             syncPolicy: {{automated: {{prune: true, selfHeal: true}}, syncOptions: [CreateNamespace=true]}}\n"
        )
    };
    counts.iter().map(one).collect::<Vec<_>>().join("---\n")
}

/// A kustomization and its objects at a round.
fn objects(count: usize, round: usize) -> Vec<(String, String)> {
    let folder = format!("apps/n{count}");
    let filling = "x".repeat(200);
    let one = |number| {
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings-{number}}}\ndata: {{round: \"{round}\", text: \"{filling}\"}}\n"
        )
    };
    let text = (0..count).map(one).collect::<Vec<_>>().concat();
    vec![
        (format!("{folder}/kustomization.yaml"), "resources: [objects.yaml]\n".to_owned()),
        (format!("{folder}/objects.yaml"), text),
    ]
}
