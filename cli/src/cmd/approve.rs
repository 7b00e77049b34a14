//! `approve`: lets a parked instance do what a guard holds back.

use taffrail_proto::v1::ApproveRequest;

use super::Session;
use crate::error::{Error, Exit};
use crate::output::Format;

/// `approve`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  taffrail describe app payments-api       says what waits, and with which objects\n  \
    taffrail approve payments-api --cluster eu-1 --what prune --bundle 0a1b2c3d4e5f --reason 'the old queue goes'"
)]
pub struct Args {
    /// Name of the app
    app: String,
    /// The cluster whose instance waits
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// What is approved; needed only if several things wait
    #[arg(long, value_name = "WHAT", default_value = "", hide_default_value = true)]
    what: String,
    /// The bundle that was looked at, as describe names it: refused if a newer commit came between
    #[arg(long, value_name = "DIGEST", default_value = "", hide_default_value = true)]
    bundle: String,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// How the answer is written
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    format: Format,
}

/// Carries `approve` out.
///
/// # Errors
/// Nothing waits, or the hub refuses, fails or cannot be reached.
pub async fn run(args: Args, session: &mut Session<'_>) -> Result<Exit, Error> {
    let Args { app, cluster, what, bundle, reason, format } = args;
    let ask = ApproveRequest { app, cluster, what, reason, bundle };
    let answer = session.client().await?.fleet.approve(ask).await?.into_inner();
    session.out.done(format, answer.done)?;
    Ok(Exit::Ok)
}
