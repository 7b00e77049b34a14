//! `source`: which repositories the hub follows.

use std::path::PathBuf;

use taffrail_proto::v1::{AddSourceRequest, AllowSourceRequest, RemoveSourceRequest};

use super::Session;
use crate::config::read_secret;
use crate::error::{Error, Exit};
use crate::output::Format;

/// What to do with a source.
#[derive(Debug, clap::Subcommand)]
pub enum Args {
    /// Follow a repository
    #[command(after_help = "Examples:\n  taffrail source add https://git.example.com/team/fleet.git\n  \
        taffrail source add https://git.example.com/team/fleet.git --path apps --revision main --token-file token\n\n\
        Secrets are read from files that only you can read, never from the command line.")]
    Add(AddArgs),
    /// Accept the rewritten history of a parked source
    #[command(after_help = "Example:\n  taffrail describe source fleet       says what was rewritten\n  \
        taffrail source allow fleet --reason 'squashed by mistake, agreed'")]
    Allow(AllowArgs),
    /// Stop following a repository; its apps keep their objects
    #[command(after_help = "Example:\n  taffrail source remove fleet")]
    Remove(RemoveArgs),
}

/// `source add`.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// https or http; file only where the hub allows it
    url: String,
    /// Directory that holds the declarations
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    path: String,
    /// Branch, tag or commit [default: HEAD]
    #[arg(long, value_name = "REVISION", default_value = "", hide_default_value = true)]
    revision: String,
    /// Its name [default: the repository's]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    name: String,
    /// User name, with --password-file
    #[arg(
        long,
        value_name = "USER",
        default_value = "",
        hide_default_value = true,
        requires = "password_file"
    )]
    username: String,
    /// File that holds the password
    #[arg(long, value_name = "FILE", requires = "username", conflicts_with = "token_file")]
    password_file: Option<PathBuf>,
    /// File that holds a token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// How the answer is written
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    format: Format,
}

/// `source allow`.
#[derive(Debug, clap::Args)]
pub struct AllowArgs {
    /// Its name
    name: String,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// How the answer is written
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    format: Format,
}

/// `source remove`.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// Its name
    name: String,
    /// Do not ask for the name to be typed
    #[arg(long)]
    yes: bool,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// How the answer is written
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    format: Format,
}

/// Carries `source` out.
///
/// # Errors
/// A secret cannot be read, the hub refuses, fails or cannot be reached, or a removal was not confirmed.
pub async fn run(args: Args, session: &mut Session<'_>) -> Result<Exit, Error> {
    match args {
        Args::Add(args) => add(args, session).await?,
        Args::Allow(args) => {
            let ask = AllowSourceRequest { name: args.name, reason: args.reason };
            let answer = session.client().await?.fleet.allow_source(ask).await?.into_inner();
            session.out.done(args.format, answer.done)?;
        }
        Args::Remove(args) => {
            if !args.yes {
                session
                    .out
                    .confirm(&format!("source {} (its apps keep their objects)", args.name), &args.name)?;
            }
            let ask = RemoveSourceRequest { name: args.name, reason: args.reason };
            let answer = session.client().await?.fleet.remove_source(ask).await?.into_inner();
            session.out.done(args.format, answer.done)?;
        }
    }
    Ok(Exit::Ok)
}

async fn add(args: AddArgs, session: &mut Session<'_>) -> Result<(), Error> {
    let file = args.password_file.or(args.token_file);
    let secret = file.map(|file| read_secret(&file)).transpose()?;
    let ask = AddSourceRequest {
        url: args.url,
        path: args.path,
        revision: args.revision,
        name: args.name,
        username: args.username,
        secret: secret.map(|secret| secret.0).unwrap_or_default(),
        reason: args.reason,
    };
    let answer = session.client().await?.fleet.add_source(ask).await?.into_inner();
    session.out.done(args.format, answer.done)
}
