//! The `taffrail` command: what it reads from the command line, asks of the hub, and shows.
//!
//! `args` holds the command line, `config` the context file, `client` the connection to the hub, `cmd` one file
//! per command, `row` the documented shape of what is shown, and `output` alone writes to the terminal.

pub mod args;
pub mod client;
pub mod cmd;
pub mod config;
pub mod error;
pub mod output;
pub mod row;
pub mod time;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::args::Parsed;
use crate::config::Environment;
use crate::error::{Error, Exit};
use crate::output::Out;

/// Runs the command of this process and says how it ended.
pub fn main() -> ExitCode {
    let environment = Environment::read();
    let mut out = Out::new(&environment);
    let exit = match run(std::env::args_os().collect(), &environment, &mut out) {
        Ok(exit) => exit,
        Err(Error::Output { source }) if source.kind() == std::io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => out.error(&error),
    };
    ExitCode::from(exit.code())
}

fn run(line: Vec<OsString>, environment: &Environment, out: &mut Out) -> Result<Exit, Error> {
    let args = match args::parse(line, environment.options.as_deref())? {
        Parsed::Run(args) => args,
        Parsed::Answered(answer) => return out.clap(&answer),
    };
    // A second installation would be an error; this is the only one of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Runtime { source })?;
    runtime.block_on(cmd::run(*args, environment, out))
}
