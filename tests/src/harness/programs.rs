//! Our own programs, found beside the running one.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The program `name` (such as `taffrail-hub`) that cargo built together with the running test or demo.
///
/// # Errors
/// It is not there; the error says how it is built.
pub fn program(name: &str) -> Result<PathBuf> {
    let here = env::current_exe().context("find the running program")?;
    // A test stands in `deps`, one folder below the programs.
    let folders = here.parent().into_iter().flat_map(|folder| [Some(folder), folder.parent()]);
    let found = folders.flatten().map(|folder| folder.join(name)).find(|path| path.is_file());
    let Some(path) = found else {
        bail!(
            "{name} is not beside {}: run `cargo build --workspace --bins`, or use make",
            here.parent().unwrap_or(Path::new(".")).display()
        )
    };
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_says_how_it_is_built() {
        let error = program("taffrail-nothing").unwrap_err().to_string();
        assert!(error.ends_with("run `cargo build --workspace --bins`, or use make"), "{error}");
    }
}
