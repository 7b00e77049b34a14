//! Tasks of this repository that are programs: `cargo run -p taffrail-xtask -- tidy`.

mod tidy;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("find the root of the repository")?;
    match env::args().nth(1).as_deref() {
        Some("tidy") => tidy::run(root),
        _ => bail!("usage: cargo run -p taffrail-xtask -- tidy"),
    }
}
