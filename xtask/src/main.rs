//! Tasks of this repository that are programs: `cargo run -p taffrail-xtask -- tidy`.

mod tidy;

use std::env;
use std::path::Path;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("find the root of the repository")?;
    match env::args().nth(1).as_deref() {
        Some("tidy") => tidy::run(root),
        _ => bail!("usage: cargo run -p taffrail-xtask -- tidy"),
    }
}
