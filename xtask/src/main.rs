//! Tasks of this repository that are programs: `cargo run -p taffrail-xtask -- tidy`, `... -- image`.

mod image;
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
    let package = env::var_os("CARGO_MANIFEST_DIR").context("start it with `cargo run -p taffrail-xtask`")?;
    let root = Path::new(&package).parent().context("find the root of the repository")?;
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some("tidy") => tidy::run(root),
        Some("image") => image::run(root, arguments),
        _ => bail!("usage: cargo run -p taffrail-xtask -- tidy|image"),
    }
}
