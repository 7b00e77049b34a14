#!/usr/bin/env bash
# Lets a clean checkout find our own packages built, as long as nothing was built in between: scripts/kept.sh write, when
# `make test` ends, notes the time of every file and folder of the commit; scripts/kept.sh take gives the same content in
# another checkout the same time and everything else the time of now, which is all that cargo looks at.
# Fails where it cannot tell: no note, a tree with changes, no GNU tools.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${CARGO_TARGET_DIR:?source scripts/env.sh}"
note="$CARGO_TARGET_DIR/.kept"

is_clean() { [ "$(git rev-parse --show-toplevel)" = "$PWD" ] && [ -z "$(git status --porcelain)" ]; }
content() { git ls-tree -r -t --format='%(objectname) %(path)' HEAD; }
paths() { git ls-tree -r -t -z --name-only HEAD; }

case "${1:-}" in
  write)
    is_clean
    paths | xargs -0 stat -c %.9Y | paste -d ' ' - <(content) >"$note.new" && mv "$note.new" "$note"
    ;;
  take)
    [ -e "$note" ] && is_clean 2>/dev/null && stat -c %.9Y . >/dev/null 2>&1 || exit 1
    paths | xargs -0 touch
    awk 'NR == FNR { time[$2 " " $3] = $1; next } $0 in time { print time[$0], $2 }' "$note" <(content) \
      | while read -r time path; do touch -d "@$time" "$path"; done
    ;;
  *) echo "usage: scripts/kept.sh write|take" >&2; exit 2 ;;
esac
