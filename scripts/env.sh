# The environment of every build and test: source it, `. scripts/env.sh`. Changes no variable that is set already.
# shellcheck shell=bash

_scripts="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=scripts/versions.env
. "$_scripts/versions.env"

export TAFFRAIL_CACHE="${TAFFRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taffrail}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$TAFFRAIL_CACHE/target}"

# Checkouts share the folder, so that each finds the outside crates built. Cargo tells our own packages apart by their
# path inside the checkout and by file times only, so what another checkout left of them goes, under cargo's own lock;
# unless scripts/kept.sh knows what it was built from. Two checkouts at the same time need a CARGO_TARGET_DIR each.
_checkout="$(dirname "$_scripts")"
if [ "$(cat "$CARGO_TARGET_DIR/.checkout" 2>/dev/null)" != "$_checkout" ] && ! "$_scripts/kept.sh" take; then
  for _built in "$CARGO_TARGET_DIR"/*/.fingerprint; do
    if command -v flock >/dev/null && [ -e "$(dirname "$_built")/.cargo-lock" ]; then
      flock "$(dirname "$_built")/.cargo-lock" rm -rf "$_built"/taffrail-*
    else
      rm -rf "$_built"/taffrail-*
    fi
  done
fi
mkdir -p "$CARGO_TARGET_DIR" && echo "$_checkout" >"$CARGO_TARGET_DIR/.checkout"
rm -f "$CARGO_TARGET_DIR/.kept" # what is built from here on may be of a tree that is being edited
case ":$PATH:" in
  *":$TAFFRAIL_CACHE/bin:"*) ;;
  *) export PATH="$TAFFRAIL_CACHE/bin:$PATH" ;;
esac

# Our own libclang comes without a compiler's headers: bindgen finds stddef.h and friends with the C compiler's.
if [ -z "${LIBCLANG_PATH:-}" ] && [ -e "$TAFFRAIL_CACHE/libclang/clang/native/libclang.so" ]; then
  export LIBCLANG_PATH="$TAFFRAIL_CACHE/libclang/clang/native"
fi
if [ "${LIBCLANG_PATH:-}" = "$TAFFRAIL_CACHE/libclang/clang/native" ] && [ -z "${BINDGEN_EXTRA_CLANG_ARGS:-}" ] \
  && command -v cc >/dev/null; then
  BINDGEN_EXTRA_CLANG_ARGS="-I$(cc -print-file-name=include)"
  export BINDGEN_EXTRA_CLANG_ARGS
fi

# The ready-made RocksDB, found at build time and, by the run path, at run time. Without it the crate builds its own.
if [ -z "${ROCKSDB_LIB_DIR:-}" ] && [ -e "$TAFFRAIL_CACHE/rocksdb-$ROCKSDB_VERSION/librocksdb.so" ]; then
  export ROCKSDB_LIB_DIR="$TAFFRAIL_CACHE/rocksdb-$ROCKSDB_VERSION"
fi
if [ -n "${ROCKSDB_LIB_DIR:-}" ]; then
  case "${RUSTFLAGS:-}" in
    *"-rpath,$ROCKSDB_LIB_DIR"*) ;;
    *) export RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }-C link-arg=-Wl,-rpath,$ROCKSDB_LIB_DIR" ;;
  esac
fi
unset _scripts _checkout _built
