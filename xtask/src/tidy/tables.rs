//! What the rules compare with. Changing a table is a decision, to be explained in its commit.

/// Lines of a file without its tests.
pub(super) const MAX_FILE_LINES: usize = 500;

/// Lines of a function, from `fn` to its closing brace.
pub(super) const MAX_FUNCTION_LINES: usize = 70;

/// Folder of a package, its name without the prefix, and the packages of ours that it may use.
pub(super) const EDGES: [(&str, &str, &[&str]); 10] = [
    ("common/core", "core", &[]),
    ("common/runtime", "runtime", &[]),
    ("common/testkit", "testkit", &["core", "proto"]),
    ("proto", "proto", &["core"]),
    ("hub", "hub", &["core", "proto", "runtime"]),
    ("agent", "agent", &["core", "proto", "runtime"]),
    ("cli", "cli", &["core", "proto", "runtime"]),
    ("chaos", "chaos", &["core", "proto", "testkit"]),
    ("tests", "tests", &["core", "runtime", "testkit", "proto", "hub", "agent", "cli", "chaos"]),
    ("xtask", "xtask", &["core", "proto", "hub", "agent", "cli"]),
];

/// What every package may use for its own tests.
pub(super) const DEV_EDGES: &[&str] = &["testkit"];

/// An outside crate that talks to the world, and the only places that may name it.
pub(super) const HOMES: [(&str, &[&str]); 10] = [
    ("gix", &["hub/src/git/"]),
    ("rocksdb", &["hub/src/log/"]),
    ("redb", &["agent/src/journal/"]),
    ("kube", &["agent/src/kube/"]),
    ("async_nats", &["common/runtime/src/nats.rs", "hub/src/bus/", "hub/src/nats/", "agent/src/bus/"]),
    ("tonic", &["proto/", "hub/src/api/", "cli/"]),
    ("axum", &["hub/src/api/", "hub/src/hook.rs", "hub/src/join/", "agent/src/probes.rs"]),
    ("hyper", &["hub/src/api/"]),
    ("reqwest", &["hub/src/git/", "hub/src/api/tests.rs", "agent/src/identity/"]),
    ("landlock", &["hub/src/render/"]),
];

/// Where every outside crate may be used: suites on real parts and fakes of them.
pub(super) const HOMELESS: &[&str] = &["tests/", "common/testkit/", "xtask/"];

/// Folders of one machine. Written in two parts, so that this file does not break its own rule.
pub(super) const PLACES: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/home", "/")];

/// Where error codes are looked for.
pub(super) const CODED: &[&str] = &["hub/src/", "agent/src/", "cli/src/", "common/core/src/", "proto/src/"];

/// What looks like an error code and is the name of a standard.
pub(super) const NOT_CODES: &[&str] = &["SHA", "AES", "RFC", "ISO", "HTTP", "UTF", "FIPS"];
