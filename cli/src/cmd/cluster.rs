//! `cluster`: joining, renaming and removing.

use std::collections::BTreeMap;

use taffrail_proto::v1::{InviteClusterRequest, RemoveClusterRequest, RenameClusterRequest};

use super::Session;
use crate::error::{Error, Exit};
use crate::output::Format;
use crate::time;

/// What to do with a cluster.
#[derive(Debug, clap::Subcommand)]
pub enum Args {
    /// Print the YAML with which a cluster joins; it holds a token that works once
    #[command(
        after_help = "Examples:\n  taffrail cluster join eu-1 --label region=eu | kubectl --context eu-1 apply -f -\n  \
        taffrail cluster join lab --rights namespaces=web,jobs > join.yaml"
    )]
    Join(JoinArgs),
    /// Give a cluster another name
    #[command(after_help = "Example:\n  taffrail cluster rename eu-1 eu-west-1")]
    Rename(RenameArgs),
    /// End a cluster's membership; its objects stay unless --cascade is given
    #[command(
        after_help = "Examples:\n  taffrail cluster remove lab\n  taffrail cluster remove lab --cascade --yes"
    )]
    Remove(RemoveArgs),
}

/// `cluster join`.
#[derive(Debug, clap::Args)]
pub struct JoinArgs {
    /// Its name: 1 to 63 of a-z, 0-9 and -
    name: String,
    /// A label; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Image of the agent, instead of the hub's own choice
    #[arg(long, value_name = "IMAGE", default_value = "", hide_default_value = true)]
    image: String,
    /// A `DaemonSet`, of which one pod acts, instead of a Deployment
    #[arg(long)]
    daemonset: bool,
    /// What the agent may apply: `cluster-admin`, or `namespaces=a,b`
    #[arg(long, value_name = "RIGHTS", default_value = "cluster-admin")]
    rights: String,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// `cluster rename`.
#[derive(Debug, clap::Args)]
pub struct RenameArgs {
    /// Its name now
    name: String,
    /// Its name from now on
    new_name: String,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// How the answer is written
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    format: Format,
}

/// `cluster remove`.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// Its name
    name: String,
    /// Take away its objects too
    #[arg(long)]
    cascade: bool,
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

/// Carries `cluster` out.
///
/// # Errors
/// The hub refuses, fails or cannot be reached, or a removal was not confirmed.
pub async fn run(args: Args, session: &mut Session<'_>) -> Result<Exit, Error> {
    match args {
        Args::Join(args) => join(args, session).await?,
        Args::Rename(args) => {
            let ask = RenameClusterRequest { name: args.name, new_name: args.new_name, reason: args.reason };
            let answer = session.client().await?.fleet.rename_cluster(ask).await?.into_inner();
            session.out.done(args.format, answer.done)?;
        }
        Args::Remove(args) => remove(args, session).await?,
    }
    Ok(Exit::Ok)
}

async fn join(args: JoinArgs, session: &mut Session<'_>) -> Result<(), Error> {
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in args.label {
        if labels.insert(key.clone(), value).is_some() {
            return Err(Error::usage(format!("the label {key} is given twice"), "give each label once"));
        }
    }
    let ask = InviteClusterRequest {
        name: args.name.clone(),
        labels,
        image: args.image,
        daemonset: args.daemonset,
        rights: args.rights,
        reason: args.reason,
    };
    let answer = session.client().await?.fleet.invite_cluster(ask).await?.into_inner();
    session.out.raw(&answer.manifest)?;
    for warning in answer.done.iter().flat_map(|done| &done.warnings) {
        session.out.note(&format!("warning: {warning}"))?;
    }
    let until = time::local(answer.expires_at_ms);
    session.out.note(&format!(
        "the token in this YAML works once, until {until}; afterwards: taffrail get cluster {}",
        args.name
    ))
}

async fn remove(args: RemoveArgs, session: &mut Session<'_>) -> Result<(), Error> {
    if !args.yes {
        let what = if args.cascade {
            format!("cluster {} and every object that was delivered to it", args.name)
        } else {
            format!("cluster {} (its objects stay)", args.name)
        };
        session.out.confirm(&what, &args.name)?;
    }
    let ask = RemoveClusterRequest { name: args.name, cascade: args.cascade, reason: args.reason };
    let answer = session.client().await?.fleet.remove_cluster(ask).await?.into_inner();
    session.out.done(args.format, answer.done)
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}
