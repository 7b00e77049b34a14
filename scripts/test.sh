#!/usr/bin/env bash
# Runs every test and closes with one line of sums. Arguments go to `cargo test`. Without the control planes, which Go
# builds, all but the suites on them (tests/tests/e2e_*) run; without root, all but the one on a real node.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh
# shellcheck source=scripts/node.sh
. scripts/node.sh

without=
left_out=
no_node="$(why_no_node)"
if ! [ -x "$TAFFRAIL_CACHE/bin/control-plane" ] || ! [ -x "$TAFFRAIL_CACHE/bin/kwok" ]; then
  left_out='e2e_*'
  without="the suites on real control planes (tests/tests/e2e_*) did not run: they need Go $GO_MINIMUM or newer, https://go.dev/dl"
  if [ "${CI:-}" = true ]; then
    echo "test: $without" >&2
    exit 1
  fi
elif [ -n "$no_node" ]; then
  left_out=e2e_node
  without="the suite on a real node (tests/tests/e2e_node) did not run: it needs $no_node"
fi
targets=()
if [ -n "$left_out" ]; then
  targets=(--lib --bins)
  for file in */tests/*.rs */tests/*/main.rs; do
    suite="${file%/main.rs}"
    suite="$(basename "$suite" .rs)"
    # shellcheck disable=SC2254  # a pattern
    case "$suite" in $left_out) ;; *) targets+=(--test "$suite") ;; esac
  done
fi

# Suites start our programs, which cargo then puts beside them; built with the suites, nothing is built twice.
cargo build --workspace --all-targets

output="$(mktemp)"
trap 'rm -f "$output"' EXIT
status=0
cargo test --workspace --no-fail-fast "${targets[@]}" "$@" 2>&1 | tee "$output" || status=$?
awk '
  /^ *Running / { suite = $2 " " $3 }
  /^test .*FAILED$/ && !/^test result/ { print "test: failed: " $2 " in " suite }
  /^test result: / { suites++; passed += $4; failed += $6; ignored += $8 }
  END { printf "test: %d passed, %d failed, %d ignored, in %d suites\n", passed, failed, ignored, suites }
' "$output"
[ -z "$without" ] || echo "test: $without"
exit "$status"
