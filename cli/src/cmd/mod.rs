//! One file per command.

pub mod approve;
pub mod check;
pub mod cluster;
pub mod completion;
pub mod ctx;
pub mod describe;
pub mod get;
pub mod help;
pub mod history;
pub mod log;
pub mod source;
pub mod sync;
pub mod tree;
pub mod wait;

use std::path::PathBuf;
use std::time::Duration;

use crate::args::{Args, Command};
use crate::client::Client;
use crate::config::{Environment, File};
use crate::error::{Error, Exit};
use crate::output::Out;

/// What every command works with.
pub struct Session<'a> {
    /// The context file.
    pub config: PathBuf,
    /// The context that was named, if one was.
    pub context: Option<String>,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Where answers go.
    pub out: &'a mut Out,
}

impl Session<'_> {
    /// Connects to the hub of the chosen context.
    ///
    /// # Errors
    /// No context is chosen, or its hub cannot be reached.
    pub async fn client(&self) -> Result<Client, Error> {
        let file = File::load(&self.config)?;
        let context = file.choose(&self.config, self.context.as_deref())?;
        Client::connect(context, &self.config, self.timeout).await
    }
}

/// Carries a command out and says how the process ends.
///
/// # Errors
/// Whatever the command meets.
pub async fn run(args: Args, environment: &Environment, out: &mut Out) -> Result<Exit, Error> {
    let mut session = Session {
        config: args.config.unwrap_or_else(|| environment.default_file.clone()),
        context: args.context,
        timeout: args.request_timeout,
        out,
    };
    let exit = match args.command {
        Command::Get(args) => get::run(args, &mut session).await,
        Command::Describe(args) => describe::run(args, &mut session).await,
        Command::Sync(args) => sync::run(args, &mut session).await,
        Command::Approve(args) => approve::run(args, &mut session).await,
        Command::Wait(args) => wait::run(args, &mut session).await,
        Command::Log(args) => log::run(args, &mut session).await,
        Command::History(args) => history::run(args, &mut session).await,
        Command::Cluster(args) => cluster::run(args, &mut session).await,
        Command::Source(args) => source::run(args, &mut session).await,
        Command::Check(args) => check::run(&args, &mut session).await,
        Command::Ctx(args) => ctx::run(args, &mut session),
        Command::Completion(args) => completion::run(&args, session.out),
        Command::Help(args) => help::run(&args, session.out),
        Command::Complete(args) => completion::names(&args, &mut session).await,
    }?;
    session.out.flush()?;
    Ok(exit)
}
