//! `history`: the deliveries of an app.

use taffrail_proto::v1::HistoryRequest;

use super::Session;
use crate::client::view_of;
use crate::error::{Error, Exit};
use crate::output::Shown;
use crate::row::delivery::Delivery;

/// `history`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  taffrail history payments-api\n  taffrail history payments-api --cluster eu-1 -o wide"
)]
pub struct Args {
    /// Name of the app
    app: String,
    /// Only on this cluster
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    cluster: String,
    /// At most so many of the newest
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    shown: Shown,
}

/// Carries `history` out.
///
/// # Errors
/// There is no such app, or the hub refuses, fails or cannot be reached.
pub async fn run(args: Args, session: &mut Session<'_>) -> Result<Exit, Error> {
    let ask = HistoryRequest { app: args.app, limit: args.limit, cluster: args.cluster };
    let answer = session.client().await?.fleet.history(ask).await?.into_inner();
    let view = view_of(answer.view)?;
    let rows: Vec<Delivery> = answer.deliveries.into_iter().map(Delivery::from).collect();
    session.out.rows(&args.shown, Some(&view), &rows)?;
    if answer.more {
        session.out.note(&format!("only the newest {} deliveries are shown; -n shows more", rows.len()))?;
    }
    Ok(Exit::Ok)
}
