//! `make bench`: every figure in one run, beside what it is compared with. Names of benchmarks as arguments run only those.

use taffrail_tests::bench::{self, Size};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let size = if arguments.iter().any(|argument| argument == "--smoke") { Size::Smoke } else { Size::Full };
    let wanted = |name: &str| arguments.iter().all(|given| given == "--smoke" || given == name);
    if wanted("append") {
        bench::append::run(size).await?;
    }
    if wanted("start") {
        bench::start::run(size).await?;
    }
    if wanted("fleet") {
        bench::fleet::run(size).await?;
    }
    if wanted("commit") {
        bench::commit::run(size).await?;
    }
    Ok(())
}
