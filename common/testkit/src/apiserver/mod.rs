//! An in-memory Kubernetes API server for tests and the demo, on a port of 127.0.0.1, for an unchanged client.
//!
//! ```text
//!   HTTP ─► answer ─► request (verb, object, wishes) ─► state ─► store (objects, history) ─► watch, read
//!              │                                          │ write, patch, defaults, prepare, validate, fields
//!              └─► discovery, reviews, faults             └─► controllers: owners, namespaces, Deployments, pods
//! ```
//!
//! What it does like the real one is what a `GitOps` agent lives by: discovery, server-side apply with `managedFields`,
//! conflicts, watches with bookmarks, paged lists, metadata-only answers, deletion with owners and finalizers, dry runs,
//! and the way of a Deployment from its making to its being available. The contract suite in the package of suites on real
//! parts says the same sentences of this server and of a real control plane.
//!
//! What it has not: admission, roles, quotas, conversion between versions of a custom resource, validation of custom
//! resources against their schema (unknown fields are dropped, defaults filled in), and real pods.

mod answer;
mod controllers;
mod defaults;
mod delete;
mod discovery;
mod faults;
mod fields;
mod kinds;
mod patch;
mod prepare;
mod read;
mod request;
mod reviews;
mod scale;
mod select;
mod server;
mod state;
mod status;
mod store;
mod validate;
mod values;
mod watch;
mod write;

pub use faults::{Fault, Faults, Seen};
pub use server::{ApiServer, Backup, Options, StartError};
