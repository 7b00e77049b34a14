//! `ctx`: which hub the command speaks to.

use super::Session;
use crate::config::{self, File};
use crate::error::{Error, Exit};
use crate::row::Cell;

/// What to do with contexts.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "The context file is YAML that only you can read:\n\n  \
    current-context: lab\n  contexts:\n  - name: lab\n    hub: https://127.0.0.1:7443\n    ca: |\n      \
    -----BEGIN CERTIFICATE-----\n      ...\n    token-file: lab.token     # or `token`, in the file itself\n\n\
    A hub writes its administrator's context when it starts for the first time.")]
pub enum Args {
    /// List contexts; the current one has a star
    List,
    /// Make a context the current one
    Use {
        /// Its name
        name: String,
    },
}

/// Carries `ctx` out.
///
/// # Errors
/// The context file cannot be used, or has no such context.
pub fn run(args: Args, session: &mut Session<'_>) -> Result<Exit, Error> {
    match args {
        Args::List => list(session)?,
        Args::Use { name } => {
            config::use_context(&session.config, &name)?;
            session.out.line(&format!("context {name} is in use"))?;
        }
    }
    Ok(Exit::Ok)
}

fn list(session: &mut Session<'_>) -> Result<(), Error> {
    let file = File::load(&session.config)?;
    let current = session.context.as_deref().or(file.current_context.as_deref());
    let mut lines: Vec<Vec<Cell>> = vec![["CURRENT", "NAME", "HUB"].map(Cell::plain).to_vec()];
    for context in &file.contexts {
        let star = if current == Some(context.name.as_str()) { "*" } else { "" };
        let star = Cell { text: star.to_owned(), ..Cell::plain("") };
        lines.push(vec![star, Cell::plain(&context.name), Cell::plain(&context.hub)]);
    }
    if file.contexts.is_empty() {
        return session.out.note(&format!("{} holds no context", session.config.display()));
    }
    session.out.aligned(&lines, &mut Vec::new())
}
