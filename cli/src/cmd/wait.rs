//! `wait`: until apps are as they should be, on every cluster that was asked about.

use std::collections::BTreeSet;
use std::time::Duration;

use taffrail_proto::v1::{EventFilter, EventRow, GetAppRequest, ListEventsRequest};
use tokio::time::Instant;

use super::Session;
use crate::client::Client;
use crate::error::{Error, Exit};
use crate::output::Out;
use crate::row::app::{App, Considered, Instance};
use crate::time;

/// Pause between two looks: short beside a delivery, long beside an answer.
const LOOK_PAUSE: Duration = Duration::from_millis(300);

/// Sightings of one commit that are looked at: it is seen once for each repository, and again when history goes back.
const SIGHTINGS_MAX: u32 = 50;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum State {
    /// The clusters run what they should.
    Synced,
    /// They do, and it works.
    Healthy,
}

/// `wait`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  taffrail wait payments-api --for=healthy --timeout 2m\n  \
    taffrail wait payments-api --for=synced --commit 4f1c2a9     not before that commit has arrived\n\n\
    A commit has arrived on a cluster once it runs what that commit or a later one makes of the app,\n\
    also where the commit changes nothing of it.\n\
    A cluster that is not heard from is neither synced nor healthy.\n\
    Ends with 0 when it is so, 1 if an instance is parked, 5 when the time is over.")]
pub struct Args {
    /// Names of the apps
    #[arg(required = true, value_name = "APP")]
    apps: Vec<String>,
    /// What to wait for
    #[arg(long = "for", value_enum, value_name = "STATE")]
    state: State,
    /// Only this cluster; may be given several times
    #[arg(long, value_name = "NAME")]
    cluster: Vec<String>,
    /// Not before this commit has arrived; its beginning is enough
    #[arg(long, value_name = "COMMIT", default_value = "", hide_default_value = true)]
    commit: String,
    /// How long to wait for all of them
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = time::parse_span)]
    timeout: Duration,
}

/// One app to wait for.
#[derive(Clone, Debug)]
pub struct Goal {
    /// Its name.
    pub app: String,
    /// Where; empty for everywhere.
    pub clusters: Vec<String>,
    /// Beginning of the commit that must have arrived; empty for whatever should run.
    pub commit: String,
    /// What to wait for.
    pub state: State,
    /// How long was given for all that is waited for.
    pub limit: Duration,
    /// When that is over.
    pub end: Instant,
}

/// Carries `wait` out.
///
/// # Errors
/// The time is over, an instance is parked, or the hub refuses, fails or cannot be reached.
pub async fn run(args: Args, session: &mut Session<'_>) -> Result<Exit, Error> {
    let mut client = session.client().await?;
    let end = Instant::now() + args.timeout;
    for app in args.apps {
        let goal = Goal {
            app,
            clusters: args.cluster.clone(),
            commit: args.commit.clone(),
            state: args.state,
            limit: args.timeout,
            end,
        };
        until(&mut client, &goal, session.out).await?;
    }
    Ok(Exit::Ok)
}

/// Waits for one goal and says in one line that it is reached.
///
/// # Errors
/// The time is over, an instance is parked, or the hub refuses, fails or cannot be reached.
pub async fn until(client: &mut Client, goal: &Goal, out: &mut Out) -> Result<(), Error> {
    let ask = GetAppRequest { app: goal.app.clone(), ..GetAppRequest::default() };
    loop {
        let (view, row) = client.app(ask.clone()).await?;
        let app = App::new(row, view.now_ms);
        let sightings = sightings(client, &goal.commit).await?;
        let missing = match judge(goal, &app.instances, &sightings) {
            Verdict::Reached(count) => {
                let word = match goal.state {
                    State::Synced => "synced",
                    State::Healthy => "healthy",
                };
                let clusters = if count == 1 { "cluster" } else { "clusters" };
                return out.line(&format!("app/{} is {word} on {count} {clusters}", goal.app));
            }
            Verdict::Parked { cluster, reason } => {
                return Err(Error::Parked {
                    what: format!("app/{} on {cluster}", goal.app),
                    next: format!(
                        "taffrail describe app {0}, then taffrail approve {0} --cluster {cluster}",
                        goal.app
                    ),
                    cause: reason,
                });
            }
            Verdict::NotYet(missing) => missing,
        };
        if Instant::now() + LOOK_PAUSE > goal.end {
            return Err(Error::Timeout {
                what: format!("app/{} did not become {:?}", goal.app, goal.state).to_ascii_lowercase(),
                limit: time::short(u64::try_from(goal.limit.as_millis()).unwrap_or(u64::MAX)),
                cause: missing,
                next: format!("taffrail describe app {}", goal.app),
            });
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Reached(usize),
    NotYet(String),
    Parked { cluster: String, reason: String },
}

/// An event that says that revisions of a repository stood at the commit that is waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
struct Sighting {
    track: Track,
    #[serde(default)]
    also: Vec<String>,
    #[serde(skip)]
    index: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
struct Track {
    url: String,
    revision: String,
}

impl Sighting {
    /// Whether a head is this commit or one that came after it.
    fn is_in(&self, head: &Considered) -> bool {
        let revisions = || [&self.track.revision].into_iter().chain(&self.also);
        self.index <= head.event_index
            && self.track.url == head.repo
            && revisions().any(|revision| *revision == head.revision)
    }
}

/// Where and when the hub saw a commit; nothing if none is waited for, or if it has not been seen yet.
async fn sightings(client: &mut Client, commit: &str) -> Result<Vec<Sighting>, Error> {
    if commit.is_empty() {
        return Ok(Vec::new());
    }
    let kinds = ["CommitSeen", "SourceAllowed"].map(str::to_owned).to_vec();
    let filter = EventFilter { commit: commit.to_owned(), kinds, ..EventFilter::default() };
    let ask = ListEventsRequest {
        filter: Some(filter),
        limit: SIGHTINGS_MAX,
        newest_first: true,
        ..ListEventsRequest::default()
    };
    let events = client.fleet.list_events(ask).await?.into_inner().events;
    let sighting = |event: EventRow| match serde_json::from_str::<Sighting>(&event.detail_json) {
        Ok(told) => Ok(Sighting { index: event.index, ..told }),
        Err(error) => {
            Err(Error::Answer { detail: format!("event {} names no revision: {error}", event.index) })
        }
    };
    events.into_iter().map(sighting).collect()
}

fn judge(goal: &Goal, instances: &[Instance], sightings: &[Sighting]) -> Verdict {
    let wanted = |instance: &&Instance| goal.clusters.is_empty() || goal.clusters.contains(&instance.cluster);
    let chosen: Vec<&Instance> = instances.iter().filter(wanted).collect();
    let present: BTreeSet<&str> = chosen.iter().map(|instance| instance.cluster.as_str()).collect();
    if let Some(absent) = goal.clusters.iter().find(|cluster| !present.contains(cluster.as_str())) {
        return Verdict::NotYet(format!("{absent} has no instance of it"));
    }
    if chosen.is_empty() {
        return Verdict::NotYet("no cluster has an instance of it".to_owned());
    }
    if let Some(parked) = chosen.iter().find(|instance| instance.sync == "Parked") {
        return Verdict::Parked { cluster: parked.cluster.clone(), reason: parked.message() };
    }
    let unseen = |it: &&Instance| !it.running_commit.starts_with(&goal.commit);
    if !goal.commit.is_empty() && sightings.is_empty() && chosen.iter().any(unseen) {
        return Verdict::NotYet(format!("the hub has not seen a commit {}", goal.commit));
    }
    let mut short = chosen.iter().filter(|instance| !is_there(goal, instance, sightings));
    match (short.next(), short.count()) {
        (None, _) => Verdict::Reached(chosen.len()),
        (Some(first), 0) => Verdict::NotYet(describe(first)),
        (Some(first), more) => Verdict::NotYet(format!("{} (and {more} more)", describe(first))),
    }
}

fn is_there(goal: &Goal, instance: &Instance, sightings: &[Sighting]) -> bool {
    let arrived = || {
        let heads = || instance.considered.iter();
        instance.running_commit.starts_with(&goal.commit)
            || sightings.iter().any(|sighting| heads().any(|head| sighting.is_in(head)))
    };
    instance.sync == "Synced"
        && instance.withdrawn.is_empty()
        && arrived()
        && (goal.state == State::Synced || instance.health == "Healthy")
}

fn describe(instance: &Instance) -> String {
    let state = format!("{} is {}, {}", instance.cluster, instance.sync, instance.health);
    match instance.message() {
        message if message.is_empty() => format!("{state}, runs {}", instance.commits()),
        message => format!("{state}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_proto::v1::{ConnectionStatus, HealthStatus, InstanceRow, SyncStatus};

    fn on(cluster: &str, connection: ConnectionStatus, sync: SyncStatus, health: HealthStatus) -> Instance {
        let row = InstanceRow {
            cluster: cluster.into(),
            connection: connection as i32,
            sync: sync as i32,
            health: health as i32,
            running_commit: "abc1".into(),
            desired_commit: "abc1".into(),
            ..InstanceRow::default()
        };
        Instance::new(row, 1)
    }

    fn goal(state: State, clusters: &[&str], commit: &str) -> Goal {
        Goal {
            app: "a".into(),
            clusters: clusters.iter().map(|name| (*name).to_owned()).collect(),
            commit: commit.into(),
            state,
            limit: Duration::ZERO,
            end: Instant::now(),
        }
    }

    #[test]
    fn a_goal_is_reached_only_where_everyone_is_heard_and_there() {
        use ConnectionStatus::{Connected, Silent};
        let well = on("a", Connected, SyncStatus::Synced, HealthStatus::Healthy);
        let silent = on("b", Silent, SyncStatus::Synced, HealthStatus::Healthy);
        let busy = on("c", Connected, SyncStatus::Synced, HealthStatus::Progressing);
        let cases: [(Goal, Vec<&Instance>, bool); 9] = [
            (goal(State::Healthy, &[], ""), vec![&well], true),
            (goal(State::Healthy, &[], ""), vec![], false),
            (goal(State::Healthy, &[], ""), vec![&well, &silent], false),
            (goal(State::Synced, &[], ""), vec![&well, &silent], false),
            (goal(State::Healthy, &["a"], ""), vec![&well, &silent], true),
            (goal(State::Healthy, &["a", "x"], ""), vec![&well], false),
            (goal(State::Synced, &[], ""), vec![&well, &busy], true),
            (goal(State::Healthy, &[], ""), vec![&well, &busy], false),
            (goal(State::Synced, &[], "def"), vec![&well], false),
        ];
        for (goal, instances, reached) in cases {
            let instances: Vec<Instance> = instances.into_iter().cloned().collect();
            let verdict = judge(&goal, &instances, &[]);
            assert_eq!(matches!(verdict, Verdict::Reached(_)), reached, "{goal:?}: {verdict:?}");
        }
    }

    #[test]
    fn a_commit_arrives_with_a_later_one_and_where_it_changes_nothing_but_not_elsewhere() {
        let considered = |repo: &str, revision: &str, event_index| Considered {
            repo: repo.into(),
            revision: revision.into(),
            commit: "fff".into(),
            event_index,
        };
        let sighting = Sighting {
            track: Track { url: "repo".into(), revision: "main".into() },
            also: vec!["HEAD".into()],
            index: 7,
        };
        let cases = [
            ("the same event", considered("repo", "main", 7), true),
            ("another name of the revision", considered("repo", "HEAD", 7), true),
            ("a later one", considered("repo", "main", 9), true),
            ("an earlier one", considered("repo", "main", 6), false),
            ("another repository", considered("other", "main", 9), false),
            ("another revision", considered("repo", "next", 9), false),
        ];
        for (name, head, reached) in cases {
            let mut well = on("a", ConnectionStatus::Connected, SyncStatus::Synced, HealthStatus::Healthy);
            well.considered = vec![head];
            let goal = goal(State::Healthy, &[], "def");
            let verdict = judge(&goal, &[well], std::slice::from_ref(&sighting));
            assert_eq!(matches!(verdict, Verdict::Reached(_)), reached, "{name}: {verdict:?}");
        }
    }

    #[test]
    fn waiting_for_a_parked_instance_ends_at_once() {
        let parked = on("a", ConnectionStatus::Connected, SyncStatus::Parked, HealthStatus::Healthy);
        assert!(matches!(judge(&goal(State::Synced, &[], ""), &[parked], &[]), Verdict::Parked { .. }));
    }
}
