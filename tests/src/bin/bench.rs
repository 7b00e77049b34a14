//! `make bench`: every figure in one run, beside what it is compared with. Names of benchmarks as arguments run only those.

use std::time::Duration;
use taffrail_tests::bench::{self, Size, usage};

/// How long an idle agent is looked at.
const IDLE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_mins(5));

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((usage::BESIDE, beside)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        return usage::beside(beside).await;
    }
    let smoke = arguments.iter().any(|argument| argument == "--smoke");
    let (size, idle) = if smoke { (Size::Smoke, IDLE.0) } else { (Size::Full, IDLE.1) };
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
    if wanted("agent") {
        bench::agent::run(size, idle).await?;
    }
    Ok(())
}
