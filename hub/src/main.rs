//! The hub's program: arguments, crypto provider, telemetry, `run`.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use taffrail_hub::config::{Config, Flags};
use taffrail_hub::{render, run};
use taffrail_runtime::config::explain;

/// Follows Git, renders, plans, signs desired state for every cluster, and keeps the log.
#[derive(Parser)]
#[command(
    name = "taffrail-hub",
    version,
    after_help = "Examples:\n  taffrail-hub --data-dir ./hub --advertise hub.example.org\n  taffrail-hub config"
)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Prints every setting with unit, default and bound, or checks them.
    Config {
        /// Only say whether the settings are right.
        #[arg(long)]
        check: bool,
    },
    /// Begins a new epoch after the data folder was restored from a backup. The hub must not run.
    #[command(
        after_help = "The key was made as restore.key in the data folder at the hub's first start.\n\nExamples:\n  taffrail-hub restore --data-dir ./hub --key /media/usb/restore.key"
    )]
    Restore {
        /// File of the restore key.
        #[arg(long, value_name = "FILE")]
        key: std::path::PathBuf,
    },
}

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == render::jail::COMMAND) {
        return render::jail::become_renderer(words);
    }
    let Arguments { flags, command } = Arguments::parse();
    let read = flags.values().and_then(|values| Ok((Config::read(&values)?, values)));
    let (config, values) = match read {
        Ok(read) => read,
        Err(errors) => return run::complain(&errors),
    };
    match command {
        Some(Command::Config { check: false }) => run::say(&explain(&values)),
        Some(Command::Config { check: true }) => run::say("The settings are right.\n"),
        Some(Command::Restore { key }) => run::restoring(&config, &key),
        None => run::blocking(config),
    }
}
