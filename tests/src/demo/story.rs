//! The six acts. Each does something, waits for what the fleet makes of it, asserts it, and tells it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::Value;

use super::cluster::Cluster;
use super::news::{App, Event, Instance, News};
use super::screen::Screen;
use super::stage::{Stage, subject};
use crate::tree::{APP, Overlay};

/// As whom `kubectl edit` writes.
const BY_HAND: &str = "kubectl-edit";
/// Both variants of the app.
const EVERYWHERE: [Overlay; 2] = [Overlay::Staging, Overlay::Production];
/// Lines of a command's output that are shown.
const OUTPUT_LINES: usize = 24;

/// The commits of the story.
struct Commits {
    second: String,
    missing: String,
    reverted: String,
}

/// Tells all of it.
pub(super) async fn tell(stage: &Stage, screen: &mut Screen) -> Result<()> {
    let mut news = News::of(stage.hub()?)?;
    first_delivery(stage, screen, &mut news).await.context("1, first delivery")?;
    let second = new_version(stage, screen, &mut news).await.context("2, a new version")?;
    by_hand(stage, screen, &mut news).await.context("3, an edit by hand")?;
    let missing = cannot_start(stage, screen, &mut news).await.context("4, a commit that cannot start")?;
    let reverted = revert(stage, screen, &mut news, &missing).await.context("5, git revert")?;
    questions(stage, screen, &Commits { second, missing, reverted }).await.context("6, the questions")
}

async fn first_delivery(stage: &Stage, screen: &mut Screen, news: &mut News) -> Result<()> {
    screen.act(1, "First delivery");
    let url = stage.git()?.url();
    let commit = stage.git()?.head()?;
    screen.does(&format!("taffrail source add {url}"), "the only thing the hub is told");
    let clock = Clock::start();
    stage.hub()?.done(&["source", "add", &url]).await?;
    let delivery =
        Delivery { clock: &clock, commit: &commit, image: stage.images.first, touched: &EVERYWHERE };
    delivered(stage, screen, news, &delivery).await
}

async fn new_version(stage: &Stage, screen: &mut Screen, news: &mut News) -> Result<String> {
    screen.act(2, "A new version");
    let image = stage.images.second;
    let (commit, clock) = push(stage, screen, image, &EVERYWHERE).await?;
    let delivery = Delivery { clock: &clock, commit: &commit, image, touched: &EVERYWHERE };
    delivered(stage, screen, news, &delivery).await?;
    Ok(commit)
}

async fn by_hand(stage: &Stage, screen: &mut Screen, news: &mut News) -> Result<()> {
    screen.act(3, "Someone edits a Deployment by hand");
    let cluster = production(stage).last().context("there is no production cluster")?;
    let wanted = cluster.overlay.replicas();
    screen.does(
        &format!("kubectl edit deployment {APP}"),
        &format!("on {}: replicas {wanted} -> 0", cluster.name),
    );
    let took = cluster.scaled_by_hand(&stage.namespace, BY_HAND, wanted, stage.bound).await?;
    screen.good(&format!("healed on {}: replicas are {wanted} again", cluster.name), Some(took));
    let is_it = |event: &Event| event.kind == "DriftHealed" && event.cluster == cluster.name;
    let healed = news.event("the log tells of the healed drift", stage.bound, is_it).await?.detail;
    let manager = healed["manager"].as_str().unwrap_or_default();
    ensure!(manager == BY_HAND, "the log names {manager:?} instead of {BY_HAND}: {healed}");
    let fields = texts(&healed["fields"]);
    ensure!(
        fields.iter().any(|field| field.contains("replicas")),
        "the log does not name the field: {healed}"
    );
    let lasted = healed["lastedMs"].as_u64().context("the log does not say how long it lasted")?;
    screen.note(&format!("the log knows who, what, how long: {manager}, {}, {lasted} ms", fields.join(" ")));
    let well = |app: &App| {
        app.instances.iter().all(|instance| instance.health == "Healthy" && instance.sync == "Synced")
    };
    news.app(stage.hub()?, "everything is well again", stage.bound, |_| (), well).await?;
    Ok(())
}

async fn cannot_start(stage: &Stage, screen: &mut Screen, news: &mut News) -> Result<String> {
    screen.act(4, "A commit whose image cannot be pulled");
    let image = stage.images.missing;
    let (commit, clock) = push(stage, screen, image, &[Overlay::Production]).await?;
    let hit: Vec<&str> = production(stage).map(|cluster| cluster.name.as_str()).collect();
    let named = |instance: &Instance| {
        instance.runs(&commit) && instance.causes.iter().any(|cause| cause.name == "ImagePullBackOff")
    };
    let is_hit = |instance: &Instance| hit.contains(&instance.cluster.as_str());
    let all = |app: &App| app.instances.iter().filter(|one| is_hit(one)).all(&named);
    let show = |app: &App| {
        let count = app.instances.iter().filter(|one| named(one)).count();
        screen.progress(&format!("found on {count} of {} clusters", hit.len()), clock.elapsed());
    };
    let app =
        news.app(stage.hub()?, "the image is named on every cluster it hit", stage.bound, show, all).await?;
    let took = clock.elapsed();
    screen.bad(&format!("ImagePullBackOff on {}", hit.join(" ")), Some(took));
    let cause = app.instances.iter().filter(|one| is_hit(one)).flat_map(|one| &one.causes).next();
    let cause = cause.context("no instance names a cause")?;
    screen.note(&format!("{}: {}", cause.object, cause.message));
    for other in app.instances.iter().filter(|one| !is_hit(one)) {
        ensure!(other.health == "Healthy", "{} was not hit and is {}", other.cluster, other.health);
    }
    let mut serving = 0;
    for cluster in production(stage) {
        let workload = cluster.workload(&stage.namespace).await?;
        ensure!(workload.image == image, "{} runs {} instead of {image}", cluster.name, workload.image);
        ensure!(workload.available > 0, "no pod serves on {}", cluster.name);
        serving += workload.available;
    }
    screen.note(&format!(
        "{serving} pods of the version before still serve there; no other cluster was touched"
    ));
    screen
        .does(&format!("taffrail wait {APP} --for=healthy --timeout 1s"), "what a script sees: exit code 5");
    let waited = stage.hub()?.cli(&["wait", APP, "--for=healthy", "--timeout", "1s"]).await?;
    ensure!(waited.code == 5, "taffrail wait ended with {}: {}", waited.code, waited.stderr);
    screen.output(&waited.stderr, OUTPUT_LINES);
    Ok(commit)
}

async fn revert(stage: &Stage, screen: &mut Screen, news: &mut News, missing: &str) -> Result<String> {
    screen.act(5, "git revert");
    let commit = stage.git()?.revert(missing)?;
    let clock = Clock::start();
    stage.hub()?.announce(&stage.git()?.url()).await?;
    screen.does(
        &format!("git revert {} && git push", short(missing)),
        &format!("{} Revert {:?}", short(&commit), subject(stage.images.missing)),
    );
    let touched = &[Overlay::Production];
    let delivery = Delivery { clock: &clock, commit: &commit, image: stage.images.second, touched };
    delivered(stage, screen, news, &delivery).await?;
    Ok(commit)
}

async fn questions(stage: &Stage, screen: &mut Screen, commits: &Commits) -> Result<()> {
    screen.act(6, "What happened?");
    let hub = stage.hub()?;
    let missing = short(&commits.missing);
    screen.does(&format!("taffrail log --commit {missing}"), "from the push to the last cluster");
    let log = hub.done(&["log", "--commit", missing]).await?;
    ensure!(
        log.contains("CommitSeen") && log.contains("ImagePullBackOff"),
        "the log does not tell of it:\n{log}"
    );
    for cluster in production(stage) {
        ensure!(log.contains(&cluster.name), "the log does not tell of {}:\n{log}", cluster.name);
    }
    screen.output(&log, OUTPUT_LINES);
    screen.does(&format!("taffrail history {APP}"), "");
    let history = hub.done(&["history", APP]).await?;
    for commit in [&commits.second, &commits.missing, &commits.reverted] {
        ensure!(history.contains(short(commit)), "the history does not hold {commit}:\n{history}");
    }
    ensure!(history.contains("ImagePullBackOff"), "the history does not say what went wrong:\n{history}");
    screen.output(&history, OUTPUT_LINES);
    Ok(())
}

/// A commit on its way.
struct Delivery<'a> {
    clock: &'a Clock,
    commit: &'a str,
    image: &'a str,
    /// Variants that it changes; clusters with others keep what they run.
    touched: &'a [Overlay],
}

/// Waits until every cluster that the commit concerns runs it and all are well, tells its way, and looks at the clusters.
async fn delivered(
    stage: &Stage,
    screen: &mut Screen,
    news: &mut News,
    delivery: &Delivery<'_>,
) -> Result<()> {
    let Delivery { clock, commit, image, touched } = *delivery;
    let total = stage.clusters.len();
    let is_left = |name: &str| {
        stage.clusters.iter().any(|cluster| cluster.name == name && !touched.contains(&cluster.overlay))
    };
    let well = |instance: &Instance| {
        let runs = instance.runs(commit) || is_left(&instance.cluster);
        runs && instance.sync == "Synced" && instance.health == "Healthy"
    };
    let count = |app: &App| app.instances.iter().filter(|one| well(one)).count();
    let show = |app: &App| {
        screen.progress(&format!("healthy on {} of {total} clusters", count(app)), clock.elapsed());
    };
    let done = |app: &App| app.instances.len() == total && count(app) == total;
    let what = format!("every cluster runs {} and is well", short(commit));
    news.app(stage.hub()?, &what, stage.bound, show, done).await?;
    let took = clock.elapsed();
    way(screen, news, clock, commit);
    screen.good(&format!("healthy on {total} of {total} clusters"), Some(took));
    for cluster in &stage.clusters {
        let workload = cluster.workload(&stage.namespace).await?;
        let wanted = cluster.overlay.replicas();
        if workload.image != image || workload.available != wanted {
            bail!("{} is said to be well, but has {workload:?}", cluster.name);
        }
    }
    Ok(())
}

/// The stations of a commit between push and health, from the log.
fn way(screen: &mut Screen, news: &News, clock: &Clock, commit: &str) {
    let of = |kind: &'static str| {
        news.events().iter().filter(move |event| event.kind == kind && event.commit == commit)
    };
    let seen = of("CommitSeen").next_back();
    if let Some(seen) = seen {
        screen.step("commit seen", clock.at(seen));
    }
    if let Some(sealed) = of("BundleSealed").next_back() {
        let bundles = counted(of("BundleSealed").count(), "bundle", "bundles");
        screen.step(&format!("rendered and sealed, {bundles}"), clock.at(sealed));
    }
    if let Some(ordered) = of("IndexRaised").next_back() {
        let indexes = counted(of("IndexRaised").count(), "signed index", "signed indexes");
        screen.step(&format!("ordered, {indexes}"), clock.at(ordered));
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Writes an image into overlays, commits, pushes, and tells the hub as a Git host does. The clock begins when the push
/// is done.
async fn push(
    stage: &Stage,
    screen: &mut Screen,
    image: &str,
    overlays: &[Overlay],
) -> Result<(String, Clock)> {
    let tree = stage.tree()?;
    let files: Vec<_> = overlays.iter().map(|overlay| tree.image(*overlay, image)).collect();
    let commit = stage.git()?.commit(&subject(image), &files)?;
    let clock = Clock::start();
    stage.hub()?.announce(&stage.git()?.url()).await?;
    screen.does("git push", &format!("{} {}", short(&commit), subject(image)));
    Ok((commit, clock))
}

fn production(stage: &Stage) -> impl Iterator<Item = &Cluster> {
    stage.clusters.iter().filter(|cluster| cluster.overlay == Overlay::Production)
}

/// When something began: for what this process sees, and for what the hub recorded.
struct Clock {
    begun: Instant,
    at: Timestamp,
}

impl Clock {
    fn start() -> Clock {
        Clock { begun: Instant::now(), at: Timestamp::now() }
    }

    fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// When the hub recorded an event, on the same machine's clock.
    fn at(&self, event: &Event) -> Duration {
        Duration::try_from(event.appended_at.duration_since(self.at)).unwrap_or_default()
    }
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A commit as people write it.
fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}
