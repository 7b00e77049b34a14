//! `sync`: delivers an app's newest commit now.

use std::time::Duration;

use taffrail_proto::v1::SyncRequest;
use tokio::time::Instant;

use super::Session;
use super::wait::{self, Goal};
use crate::error::{Error, Exit};
use crate::output::Format;
use crate::time;

/// `sync`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  taffrail sync payments-api --reason 'release 12'\n  \
    taffrail sync payments-api --cluster eu-1 --wait")]
pub struct Args {
    /// Name of the app
    app: String,
    /// Only this cluster; may be given several times
    #[arg(long, value_name = "NAME")]
    cluster: Vec<String>,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Wait until it is synced
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = time::parse_span, requires = "wait")]
    timeout: Duration,
    /// How the answer is written
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    format: Format,
}

/// Carries `sync` out.
///
/// # Errors
/// The hub refuses, fails or cannot be reached; with `--wait` also what keeps [`super::wait`] from its end.
pub async fn run(args: Args, session: &mut Session<'_>) -> Result<Exit, Error> {
    let mut client = session.client().await?;
    let ask = SyncRequest { app: args.app.clone(), clusters: args.cluster.clone(), reason: args.reason };
    let answer = client.fleet.sync(ask).await?.into_inner();
    session.out.done(args.format, answer.done)?;
    if args.wait {
        session.out.flush()?;
        let goal = Goal {
            app: args.app,
            clusters: args.cluster,
            commit: String::new(),
            state: wait::State::Synced,
            limit: args.timeout,
            end: Instant::now() + args.timeout,
        };
        wait::until(&mut client, &goal, session.out).await?;
    }
    Ok(Exit::Ok)
}
