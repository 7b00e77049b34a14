#!/usr/bin/env bash
# Runs every test and closes with one line of sums; with arguments, what `cargo test` makes of them. Without the control
# planes, which Go builds, all but the suites on them (tests/tests/e2e_*) run; without root, all but the one on a real node.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh
# shellcheck source=scripts/node.sh
. scripts/node.sh

# The same cases of every property each time, so that a red run is the commit's doing; `make properties` looks for new ones.
export PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-1}"

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
# Three runs: what computes, with both cores for itself; then the suites on real control planes, and beside them the
# longest of those, which mostly waits.
computing=(--lib --bins)
clusters=()
waiting=()
for package in */Cargo.toml */*/Cargo.toml; do
  for file in "${package%Cargo.toml}"tests/*.rs "${package%Cargo.toml}"tests/*/main.rs; do
    [ -e "$file" ] || continue
    suite="${file%/main.rs}"
    suite="$(basename "$suite" .rs)"
    # shellcheck disable=SC2254  # a pattern
    case "$suite" in $left_out) continue ;; esac
    case "$suite" in
      e2e_faults) waiting+=(--test "$suite") ;;
      e2e_*) clusters+=(--test "$suite") ;;
      *) computing+=(--test "$suite") ;;
    esac
  done
done

# Suites start our programs, which cargo then puts beside them; built with the suites, nothing is built twice.
cargo build --workspace --all-targets

output="$(mktemp -d)"
child=
trap '[ -z "$child" ] || kill -- "-$child" 2>/dev/null || true; rm -rf "$output"' EXIT
status=0
run() { cargo test --workspace --no-fail-fast "$@" 2>&1; }
if [ $# -gt 0 ]; then
  run "$@" | tee "$output/1" || status=$?
else
  run "${computing[@]}" | tee "$output/1" || status=$?
  run --doc | tee "$output/2" || status=$?
  if [ "${#waiting[@]}" -gt 0 ]; then
    echo "test: e2e_faults runs beside the next ones; what it says follows at the end"
    set -m # a group of its own, to end all of it
    run "${waiting[@]}" >"$output/4" &
    child=$!
    set +m
    run "${clusters[@]}" | tee "$output/3" || status=$?
    wait "$child" || status=$?
    cat "$output/4"
  fi
fi
awk '
  /^ *Running / { suite = $2 " " $3 }
  /^test .*FAILED$/ && !/^test result/ { print "test: failed: " $2 " in " suite }
  /^test result: / { suites++; passed += $4; failed += $6; ignored += $8 }
  END { printf "test: %d passed, %d failed, %d ignored, in %d suites\n", passed, failed, ignored, suites }
' "$output"/*
[ -z "$without" ] || echo "test: $without"
scripts/kept.sh write || true # a tree with changes is none that another checkout could know again
exit "$status"
