#!/usr/bin/env bash
# Runs every test. Without the control planes, which Go builds, all but the suites on them (tests/tests/e2e_*.rs).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

# Suites start the programs themselves, which a test build does not make.
cargo build --workspace --bins
if [ -x "$TAFFRAIL_CACHE/bin/control-plane" ] && [ -x "$TAFFRAIL_CACHE/bin/kwok" ]; then
  exec cargo test --workspace "$@"
fi
without="the suites on real control planes (tests/tests/e2e_*.rs) did not run: they need Go $GO_MINIMUM or newer, https://go.dev/dl"
if [ "${CI:-}" = true ]; then
  echo "test: $without" >&2
  exit 1
fi
suites=()
for file in tests/tests/*.rs; do
  name="$(basename "$file" .rs)"
  case "$name" in e2e_* | '*') ;; *) suites+=(--test "$name") ;; esac
done
cargo test --workspace --exclude taffrail-tests "$@"
cargo test -p taffrail-tests --lib --bins "${suites[@]}" "$@"
echo "test: $without"
