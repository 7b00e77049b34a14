//! `describe`: everything known of one thing, for people.

use taffrail_proto::v1::{
    EventFilter, GetAppRequest, HistoryRequest, ListAppsRequest, ListClustersRequest, ListEventsRequest,
};

use super::Session;
use crate::client::Client;
use crate::error::{Error, Exit};
use crate::output::{Out, Shown};
use crate::row::app::{App, Instance};
use crate::row::cluster::Cluster;
use crate::row::delivery::Delivery;
use crate::row::event::Event;
use crate::row::source::Source;
use crate::row::{Cell, Condition, labels_text};

/// Newest events and deliveries that are shown.
const EVENTS: u32 = 10;
const DELIVERIES: u32 = 5;

/// Characters of a bundle's digest that are shown, as people read them elsewhere.
const BUNDLE_CHARS: usize = 12;

/// What to describe.
#[derive(Debug, clap::Subcommand)]
pub enum Args {
    /// An app: where it runs, why it is not well, what waits for approval, what happened
    #[command(after_help = "Example:\n  taffrail describe app payments-api")]
    App {
        /// Its name
        name: String,
    },
    /// A cluster: its identity, its agent, its apps, what happened
    #[command(after_help = "Example:\n  taffrail describe cluster eu-1")]
    Cluster {
        /// Its name
        name: String,
    },
    /// A source: where it is, what was last read, what is wrong
    #[command(after_help = "Example:\n  taffrail describe source fleet")]
    Source {
        /// Its name
        name: String,
    },
}

/// Carries `describe` out.
///
/// # Errors
/// There is no such thing, or the hub refuses, fails or cannot be reached.
pub async fn run(args: Args, session: &mut Session<'_>) -> Result<Exit, Error> {
    let mut client = session.client().await?;
    match args {
        Args::App { name } => app(name, &mut client, session.out).await?,
        Args::Cluster { name } => cluster(name, &mut client, session.out).await?,
        Args::Source { name } => source(name, &mut client, session.out).await?,
    }
    Ok(Exit::Ok)
}

async fn app(name: String, client: &mut Client, out: &mut Out) -> Result<(), Error> {
    let (view, row) = client.app(GetAppRequest { app: name, ..GetAppRequest::default() }).await?;
    let app = App::new(row, view.now_ms);
    let ask = HistoryRequest { app: app.name.clone(), limit: DELIVERIES, cluster: String::new() };
    let history = client.fleet.history(ask).await?.into_inner();
    pairs(
        out,
        &[
            ("Name", Cell::plain(&app.name)),
            ("Source", Cell::plain(&app.source)),
            ("Repository", Cell::plain(&app.repo)),
            ("Path", Cell::plain(&app.path)),
            ("Revision", Cell::plain(&app.revision)),
            ("Namespace", Cell::plain(&app.namespace)),
            ("Policy", Cell::plain(&app.policy)),
            ("Commit", Cell::plain(&app.commit)),
            ("Sync", Cell::state(&app.sync)),
            ("Health", Cell::state(&app.health)),
            ("Heard", Cell::age(app.heard_ago_ms)),
        ],
    )?;
    conditions(out, &app.conditions)?;
    section(out, "Instances")?;
    out.rows(&Shown::default(), None, &app.instances)?;
    app.instances.iter().try_for_each(|instance| troubles(out, instance))?;
    section(out, "Deliveries")?;
    let deliveries: Vec<Delivery> = history.deliveries.into_iter().map(Delivery::from).collect();
    out.rows(&Shown::default(), None, &deliveries)?;
    events(client, EventFilter { app: app.name, ..EventFilter::default() }, out).await
}

async fn cluster(name: String, client: &mut Client, out: &mut Out) -> Result<(), Error> {
    let ask = ListClustersRequest { name: name.clone(), ..ListClustersRequest::default() };
    let (view, rows) = client.clusters(ask).await?;
    let row = rows.into_iter().next().ok_or_else(|| none("cluster", &name))?;
    let cluster = Cluster::new(row, view.now_ms);
    let ask = ListAppsRequest { cluster: name.clone(), ..ListAppsRequest::default() };
    let (view, rows) = client.apps(ask).await?;
    let apps: Vec<App> = rows.into_iter().map(|row| App::new(row, view.now_ms)).collect();
    pairs(
        out,
        &[
            ("Name", Cell::plain(&cluster.name)),
            ("Labels", Cell::plain(labels_text(&cluster.labels))),
            ("Connection", Cell::state(&cluster.connection)),
            ("Heard", Cell::age(cluster.heard_ago_ms)),
            ("Joined", Cell::plain(cluster.joined_at.clone().unwrap_or_default())),
            ("Invited until", Cell::plain(cluster.invited_until.clone().unwrap_or_default())),
            ("Account", Cell::plain(&cluster.account)),
            ("Agent", Cell::plain(&cluster.agent_version)),
            ("Kubernetes", Cell::plain(&cluster.kubernetes_version)),
            (
                "Index",
                Cell::plain(format!("took {} of {}", cluster.generation_taken, cluster.generation_desired)),
            ),
            ("Outbox", Cell::plain(format!("{} events wait", cluster.outbox))),
        ],
    )?;
    conditions(out, &cluster.conditions)?;
    section(out, "Apps")?;
    out.rows(&Shown::default(), None, &apps)?;
    events(client, EventFilter { cluster: name, ..EventFilter::default() }, out).await
}

async fn source(name: String, client: &mut Client, out: &mut Out) -> Result<(), Error> {
    let (view, rows) = client.sources(&name).await?;
    let row = rows.into_iter().next().ok_or_else(|| none("source", &name))?;
    let source = Source::new(row, view.now_ms);
    pairs(
        out,
        &[
            ("Name", Cell::plain(&source.name)),
            ("URL", Cell::plain(&source.url)),
            ("Path", Cell::plain(&source.path)),
            ("Revision", Cell::plain(&source.revision)),
            ("Credential", Cell::plain(&source.credential)),
            ("Status", Cell::state(&source.status)),
            ("Message", Cell::plain(&source.message)),
            ("Looked", Cell::age(source.looked_ago_ms)),
            ("Commit", Cell::plain(format!("{} {}", source.head_commit, source.head_subject).trim())),
            ("Held before", Cell::plain(&source.parked_commit)),
            ("Apps", Cell::plain(source.apps.to_string())),
        ],
    )?;
    if source.status == "Parked" {
        out.line(&format!("Next:  taffrail source allow {name}"))?;
    }
    conditions(out, &source.conditions)?;
    events(client, EventFilter { source: name, ..EventFilter::default() }, out).await
}

fn troubles(out: &mut Out, instance: &Instance) -> Result<(), Error> {
    for cause in &instance.causes {
        out.line(&format!("  {}: {}", instance.cluster, cause.line()))?;
    }
    for approval in &instance.approvals {
        out.line(&format!(
            "  {}: {} waits for approval: {}",
            instance.cluster, approval.what, approval.message
        ))?;
        for object in &approval.objects {
            out.line(&format!("    {object}"))?;
        }
        let (app, cluster, what) = (&instance.app, &instance.cluster, &approval.what);
        // A hub of an earlier version names no bundle.
        let seen = approval.bundle.get(..BUNDLE_CHARS).map(|bundle| format!(" --bundle {bundle}"));
        let seen = seen.unwrap_or_default();
        out.line(&format!("    next: taffrail approve {app} --cluster {cluster} --what {what}{seen}"))?;
    }
    Ok(())
}

async fn events(client: &mut Client, filter: EventFilter, out: &mut Out) -> Result<(), Error> {
    let ask = ListEventsRequest {
        filter: Some(filter),
        limit: EVENTS,
        newest_first: true,
        ..ListEventsRequest::default()
    };
    let mut rows = client.fleet.list_events(ask).await?.into_inner().events;
    rows.reverse();
    section(out, "Events")?;
    out.rows(&Shown::default(), None, &rows.into_iter().map(Event::from).collect::<Vec<Event>>())
}

fn conditions(out: &mut Out, conditions: &[Condition]) -> Result<(), Error> {
    if conditions.is_empty() {
        return Ok(());
    }
    section(out, "Conditions")?;
    conditions
        .iter()
        .try_for_each(|condition| out.line(&format!("  {}: {}", condition.kind, condition.message)))
}

fn pairs(out: &mut Out, pairs: &[(&str, Cell)]) -> Result<(), Error> {
    let shown = pairs.iter().filter(|(_, cell)| cell.text != "-");
    let lines: Vec<Vec<Cell>> =
        shown.map(|(label, cell)| vec![Cell::plain(format!("{label}:")), cell.clone()]).collect();
    out.aligned(&lines, &mut Vec::new())
}

fn section(out: &mut Out, title: &str) -> Result<(), Error> {
    out.line("")?;
    out.line(&format!("{title}:"))
}

fn none(what: &str, name: &str) -> Error {
    tonic::Status::not_found(format!("no {what} is called {name:?}")).into()
}
