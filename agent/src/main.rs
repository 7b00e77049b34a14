//! The agent's program: arguments, crypto provider, telemetry, `run`.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use taffrail_agent::config::{Config, Flags};
use taffrail_agent::run;
use taffrail_runtime::config::explain;

/// Verifies the desired state of one cluster, applies it, keeps it so, and reports every fact.
#[derive(Parser)]
#[command(
    name = "taffrail-agent",
    version,
    after_help = "Examples:\n  taffrail-agent --kubeconfig ~/.kube/config --hub https://hub.example.org:8443 --hub-ca-file ca.crt --token-file token\n  taffrail-agent config"
)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the agent; so does no command at all.
    Run,
    /// Prints every setting with unit, default and bound.
    Config,
}

fn main() -> ExitCode {
    let Arguments { flags, command } = Arguments::parse();
    let values = match flags.values() {
        Ok(values) => values,
        Err(errors) => return run::complain(&errors),
    };
    match command {
        Some(Command::Config) => run::say(&explain(&values)),
        Some(Command::Run) | None => run::blocking(Config::read(&values)),
    }
}
