#!/usr/bin/env bash
# Breaks the machines of the core in one place after the other, and says which breaks no test notices:
# scripts/mutants.sh [PATH...], each the beginning of a path below common/core/src, such as reconcile or sync/apply.rs.
# SHARD=k/n takes the k-th of n parts (0/8 to 7/8); parts may run at the same time, as each builds in a folder of its own. The
# core's own tests come first; what they let pass has to show itself in simulated histories. What is left stands in
# mutants/mutants.out/missed.txt of the build folder (mutants-kofn for a part).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

out="$CARGO_TARGET_DIR/mutants${SHARD:+-${SHARD/\//of}}"
mkdir -p "$out"
# The changed copy of the sources builds in a folder of its own, which keeps the outside crates for the next time.
export CARGO_TARGET_DIR="$out/target"

options=(--output "$out" --no-shuffle --colors never)
[ -z "${SHARD:-}" ] || options+=(--shard "$SHARD")
# Named are the files that stay out: the options that name what to take add to what the settings take anyhow.
wanted() {
  local file="$1"
  shift
  for path in "$@"; do [[ "$file" != "common/core/src/$path"* ]] || return 0; done
  return 1
}
if [ $# -gt 0 ]; then
  while read -r file; do wanted "$file" "$@" || options+=(--exclude "$file"); done < <(git ls-files 'common/core/src/*.rs')
fi

# Few cases of each property, and the same ones: nearly all breaks are noticed by a test that knows what it looks for.
export PROPTEST_CASES=16 PROPTEST_RNG_SEED=1

status=0
cargo mutants "${options[@]}" --test-package taffrail-core --cargo-arg=--lib || status=$?
case "$status" in 0) exit 0 ;; 2 | 3) ;; *) exit "$status" ;; esac

echo "mutants: what the core's tests let pass, in simulated histories"
cargo mutants "${options[@]}" --iterate --baseline skip --timeout 120 \
  --test-package taffrail-chaos -- --test histories -- --exact a_few_histories_end_well
