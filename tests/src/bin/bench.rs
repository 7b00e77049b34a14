//! `make bench`: every figure in one run, beside what it is compared with.

use taffrail_tests::bench;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let size = if smoke { bench::Size::Smoke } else { bench::Size::Full };
    bench::commit::run(size).await
}
