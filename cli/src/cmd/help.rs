//! `help`: on a command, and on exit codes.

use crate::args;
use crate::error::{Error, Exit};
use crate::output::Out;

/// `help`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  taffrail help log\n  taffrail help exit-codes")]
pub struct Args {
    /// A command such as `source add`, or `exit-codes`
    topic: Vec<String>,
}

/// Carries `help` out.
///
/// # Errors
/// There is no such topic.
pub fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    if args.topic == ["exit-codes"] {
        out.line("Exit codes of taffrail:")?;
        for (exit, meaning) in Exit::ALL {
            out.line(&format!("  {:>2}  {meaning}", exit.code()))?;
        }
        out.line("An error is told on standard error with its code; docs/errors/ has a page for each.")?;
        return Ok(Exit::Ok);
    }
    let mut definition = args::definition();
    definition.build();
    let mut command = &mut definition;
    for word in &args.topic {
        command = command.find_subcommand_mut(word).ok_or_else(|| {
            Error::usage(format!("there is no help on {:?}", args.topic.join(" ")), "taffrail help")
        })?;
    }
    let text = command.render_long_help().to_string();
    out.raw(&text)?;
    Ok(Exit::Ok)
}
