//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cmd;
use crate::error::Error;
use crate::time;

const AFTER: &str = "\
Examples:
  taffrail get apps                              all apps, the worst state of each, and how old that news is
  taffrail get app payments-api -o tree          one app down to its objects
  taffrail wait payments-api --for=healthy       until it is healthy everywhere
  taffrail log --commit 4f1c2a9 -f               everything that a commit caused, as it happens
  taffrail cluster join eu-1 | kubectl apply -f -

Exit codes: taffrail help exit-codes";

/// Sees and steers a fleet of Kubernetes clusters that follow Git
#[derive(Debug, Parser)]
#[command(
    name = "taffrail", version, max_term_width = 110, disable_help_subcommand = true, after_help = AFTER,
    subcommand_required = true, arg_required_else_help = true, args_override_self = true
)]
pub struct Args {
    /// Context file [default: ~/.config/taffrail/config.yaml]
    #[arg(long, global = true, env = "TAFFRAIL_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Context to use instead of the current one
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Longest wait for one answer of the hub
    #[arg(long, global = true, value_name = "SPAN", default_value = "30s", value_parser = time::parse_span)]
    pub request_timeout: Duration,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List clusters, apps or sources, or show one app
    #[command(subcommand)]
    Get(cmd::get::Args),
    /// Everything known of one app, cluster or source
    #[command(subcommand)]
    Describe(cmd::describe::Args),
    /// Deliver an app's newest commit now
    Sync(cmd::sync::Args),
    /// Let a parked instance do what a guard holds back
    Approve(cmd::approve::Args),
    /// Wait until apps are synced or healthy
    Wait(cmd::wait::Args),
    /// The event log: who did what, when and why
    Log(cmd::log::Args),
    /// The deliveries of an app
    History(cmd::history::Args),
    /// Join, rename or remove a cluster
    #[command(subcommand)]
    Cluster(cmd::cluster::Args),
    /// Add, allow or remove a source
    #[command(subcommand)]
    Source(cmd::source::Args),
    /// How the hub is; exit code 1 if a part does not work
    Check(cmd::check::Args),
    /// List contexts, or choose one
    #[command(subcommand)]
    Ctx(cmd::ctx::Args),
    /// Print a shell's completion script
    Completion(cmd::completion::Args),
    /// Help on a command, or on `exit-codes`
    Help(cmd::help::Args),
    /// Names that a shell offers
    #[command(name = "__complete", hide = true)]
    Complete(cmd::completion::NamesArgs),
}

/// What a command line asks for.
pub enum Parsed {
    /// A command.
    Run(Box<Args>),
    /// Only words of the parser: help, version, or what is wrong.
    Answered(clap::Error),
}

/// Reads a command line, with `options` put before its own flags.
///
/// # Errors
/// `options` cannot be split.
pub fn parse(mut line: Vec<OsString>, options: Option<&str>) -> Result<Parsed, Error> {
    if let Some(options) = options {
        let words = split(options)?;
        let at = line.len().min(1);
        line.splice(at..at, words.into_iter().map(OsString::from));
    }
    Ok(match Args::try_parse_from(line) {
        Ok(args) => Parsed::Run(Box::new(args)),
        Err(answer) => Parsed::Answered(answer),
    })
}

/// The definition that help and completion are made from.
pub fn definition() -> clap::Command {
    Args::command()
}

/// Splits words as a shell does, with single and double quotes and without anything else.
fn split(text: &str) -> Result<Vec<String>, Error> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for letter in text.chars() {
        match (quote, letter) {
            (Some(open), letter) if open == letter => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(Error::usage("TAFFRAIL_OPTS has a quote that is not closed", "mend TAFFRAIL_OPTS"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        definition().debug_assert();
    }

    #[test]
    fn words_are_split_as_in_a_shell() {
        assert_eq!(
            split("--context  'my hub' --x=\"a 'b'\" ''").unwrap(),
            ["--context", "my hub", "--x=a 'b'", ""]
        );
        assert!(split("'open").is_err());
    }

    #[test]
    fn options_of_the_environment_yield_to_the_command_line() {
        let line = ["taffrail", "get", "apps", "--context", "b"].map(OsString::from).to_vec();
        let Ok(Parsed::Run(args)) = parse(line, Some("--request-timeout 5s")) else { panic!("not parsed") };
        assert_eq!((args.context.as_deref(), args.request_timeout), (Some("b"), Duration::from_secs(5)));
    }
}
