//! `get`: lists, and one app.

use std::time::Duration;

use taffrail_proto::v1::{GetAppRequest, ListAppsRequest, ListClustersRequest, View};

use super::{Session, tree};
use crate::client::Client;
use crate::error::{Error, Exit};
use crate::output::{Format, Shown, Watched};
use crate::row::Row;
use crate::row::app::{App, Instance};
use crate::row::cluster::Cluster;
use crate::row::source::Source;

/// Pause between two looks of `-w`: people do not read faster.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// What to list.
#[derive(Debug, clap::Subcommand)]
pub enum Args {
    /// Clusters, whether they are heard from, and what runs on them
    #[command(
        visible_alias = "cluster",
        after_help = "Examples:\n  taffrail get clusters -l region=eu\n  taffrail get clusters -o json"
    )]
    Clusters(ClustersArgs),
    /// Apps, the worst state over their clusters, and why
    #[command(after_help = "Examples:\n  taffrail get apps -w\n  taffrail get apps --cluster eu-1 -o wide")]
    Apps(AppsArgs),
    /// One app, cluster by cluster
    #[command(
        after_help = "Examples:\n  taffrail get app payments-api\n  taffrail get app payments-api -o tree"
    )]
    App(AppArgs),
    /// Repositories that the hub follows
    #[command(visible_alias = "source", after_help = "Example:\n  taffrail get sources -o wide")]
    Sources(SourcesArgs),
}

/// Flags of every list.
#[derive(Debug, clap::Args)]
pub struct Listed {
    #[command(flatten)]
    shown: Shown,
    /// Show what changes, until interrupted
    #[arg(short, long)]
    watch: bool,
}

/// `get clusters`.
#[derive(Debug, clap::Args)]
pub struct ClustersArgs {
    /// Only this cluster
    name: Option<String>,
    /// Only clusters whose labels match, such as env=prod,region!=us
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    #[command(flatten)]
    listed: Listed,
}

/// `get apps`.
#[derive(Debug, clap::Args)]
pub struct AppsArgs {
    /// Only what runs on this cluster
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Only what runs on clusters whose labels match
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Only what this source declares
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    listed: Listed,
}

/// `get app`.
#[derive(Debug, clap::Args)]
pub struct AppArgs {
    /// Name of the app
    name: String,
    /// Only this cluster
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    #[command(flatten)]
    listed: Listed,
}

/// `get sources`.
#[derive(Debug, clap::Args)]
pub struct SourcesArgs {
    /// Only this source
    name: Option<String>,
    #[command(flatten)]
    listed: Listed,
}

/// Carries `get` out.
///
/// # Errors
/// The hub refuses, fails or cannot be reached.
pub async fn run(args: Args, session: &mut Session<'_>) -> Result<Exit, Error> {
    match args {
        Args::Clusters(args) => clusters(args, session).await,
        Args::Apps(args) => apps(args, session).await,
        Args::App(args) => app(args, session).await,
        Args::Sources(args) => sources(args, session).await,
    }
}

async fn clusters(args: ClustersArgs, session: &mut Session<'_>) -> Result<Exit, Error> {
    let ask = ListClustersRequest {
        selector: args.selector.unwrap_or_default(),
        name: args.name.clone().unwrap_or_default(),
        ..ListClustersRequest::default()
    };
    list(&args.listed, args.name.is_some(), session, async |client: &mut Client| {
        let (view, rows) = client.clusters(ask.clone()).await?;
        let now_ms = view.now_ms;
        Ok((view, rows.into_iter().map(|row| Cluster::new(row, now_ms)).collect()))
    })
    .await
}

async fn apps(args: AppsArgs, session: &mut Session<'_>) -> Result<Exit, Error> {
    let ask = ListAppsRequest {
        cluster: args.cluster.unwrap_or_default(),
        selector: args.selector.unwrap_or_default(),
        source: args.source.unwrap_or_default(),
        ..ListAppsRequest::default()
    };
    list(&args.listed, false, session, async |client: &mut Client| {
        let (view, rows) = client.apps(ask.clone()).await?;
        let now_ms = view.now_ms;
        Ok((view, rows.into_iter().map(|row| App::new(row, now_ms)).collect()))
    })
    .await
}

async fn sources(args: SourcesArgs, session: &mut Session<'_>) -> Result<Exit, Error> {
    let name = args.name.clone().unwrap_or_default();
    list(&args.listed, args.name.is_some(), session, async |client: &mut Client| {
        let (view, rows) = client.sources(&name).await?;
        let now_ms = view.now_ms;
        Ok((view, rows.into_iter().map(|row| Source::new(row, now_ms)).collect()))
    })
    .await
}

async fn app(args: AppArgs, session: &mut Session<'_>) -> Result<Exit, Error> {
    let shown = &args.listed.shown;
    let ask = GetAppRequest {
        app: args.name,
        cluster: args.cluster.unwrap_or_default(),
        with_objects: shown.format == Format::Tree,
    };
    if args.listed.watch {
        return list(&args.listed, false, session, async |client: &mut Client| {
            let (view, row) = client.app(ask.clone()).await?;
            let app = App::new(row, view.now_ms);
            Ok((view, app.instances))
        })
        .await;
    }
    let (view, row) = session.client().await?.app(ask).await?;
    let app = App::new(row, view.now_ms);
    match shown.format {
        Format::Tree => tree::print(&app, session.out)?,
        Format::Json | Format::Yaml => session.out.one(shown, Some(&view), &app)?,
        Format::Name => session.out.line(&app.name())?,
        Format::Table | Format::Wide => session.out.rows::<Instance>(shown, Some(&view), &app.instances)?,
    }
    Ok(Exit::Ok)
}

async fn list<R: Row>(
    listed: &Listed,
    single: bool,
    session: &mut Session<'_>,
    mut look: impl AsyncFnMut(&mut Client) -> Result<(View, Vec<R>), Error>,
) -> Result<Exit, Error> {
    if listed.shown.format == Format::Tree {
        return Err(Error::usage("-o tree shows one app, once", "taffrail get app NAME -o tree"));
    }
    let mut client = session.client().await?;
    let mut watched = Watched::default();
    loop {
        let (view, rows) = look(&mut client).await?;
        if !listed.watch {
            match (single, rows.as_slice()) {
                (true, [row]) => session.out.one(&listed.shown, Some(&view), row)?,
                _ => session.out.rows(&listed.shown, Some(&view), &rows)?,
            }
            return Ok(Exit::Ok);
        }
        session.out.changed(&listed.shown, &view, &mut watched, &rows)?;
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
