#!/usr/bin/env bash
# Breaks the machines of the core in one place after the other, and says which breaks no test notices:
# scripts/mutants.sh [FILE...], each a pattern below common/core/src, such as 'sync/*.rs'. SHARD=k/n takes the k-th of n
# parts (0/8 to 7/8), JOBS says how many are tried at once. The core's own tests come first; what they let pass has to show
# itself in simulated histories. What is left stands in target/mutants/mutants.out/missed.txt and, with its reason, in
# docs/MUTANTS.md.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

out="$CARGO_TARGET_DIR/mutants"
mkdir -p "$out"
# Each copy of the sources builds in itself, so that two never wait for each other.
unset CARGO_TARGET_DIR

options=(--output "$out" --jobs "${JOBS:-2}" --no-shuffle --colors never)
[ -z "${SHARD:-}" ] || options+=(--shard "$SHARD")
for file in "$@"; do options+=(--file "common/core/src/$file"); done

status=0
cargo mutants "${options[@]}" --test-package taffrail-core || status=$?
case "$status" in 0) exit 0 ;; 2 | 3) ;; *) exit "$status" ;; esac

echo "mutants: what the core's tests let pass, in simulated histories"
cargo mutants "${options[@]}" --iterate --baseline skip --timeout 120 \
  --test-package taffrail-chaos -- --test histories -- --exact a_few_histories_end_well
