//! The program behind `make demo`: a fleet on this machine, told step by step.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use taffrail_tests::demo::{self, Options};

/// Tells on the terminal what Taffrail does, with real parts and real timings
#[derive(Parser)]
#[command(
    name = "demo",
    after_help = "Without --kubeconfig five clusters are made in memory. With it the story is told on these clusters, in a\n\
                  namespace of its own, which is removed at the end. Exit code 0 only if every step came out as told."
)]
struct Arguments {
    /// End after the story instead of staying up
    #[arg(long)]
    once: bool,
    /// A cluster to use (its current context); may be given several times
    #[arg(long, value_name = "FILE")]
    kubeconfig: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let Arguments { once, kubeconfig } = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("demo: start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(demo::run(Options { once, kubeconfigs: kubeconfig }))
}
