//! A real node: the agent as its own YAML installs it, a pod with exactly those rights, that delivers pods which really run.
//!
//! Each test has a control plane, a node and a hub of its own. Needs root; `scripts/node.sh` tells what else.

mod daemonset;
mod deployment;
mod ground;
mod images;
mod narrow;
mod rights;
mod troubles;
