//! Entry of the `taffrail` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    taffrail_cli::main()
}
