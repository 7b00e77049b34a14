#!/usr/bin/env bash
# Formatting, lints with warnings as errors, the rules of the house, documents: quickest first.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

cargo fmt --all --check
cargo run --quiet -p taffrail-xtask -- tidy
cargo clippy --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
