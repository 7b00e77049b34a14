//! What people are told when the core refuses their order.

use crate::api::Error;
use taffrail_core::digest::Digest;
use taffrail_core::id::ClusterName;
use taffrail_core::node::hub::Rejected;
use taffrail_core::{cluster, source};

fn refused(sentence: String, cause: impl Into<String>, next: impl Into<String>) -> Error {
    Error::Refused { sentence, cause: cause.into(), next: next.into() }
}

fn conflict(sentence: String, cause: impl Into<String>, next: impl Into<String>) -> Error {
    Error::Conflict { sentence, cause: cause.into(), next: next.into() }
}

/// The core's reason with its next command.
pub(super) fn told(rejected: Rejected) -> Error {
    let sentence = rejected.to_string();
    match rejected {
        Rejected::Source(reason) => of_source(reason, sentence),
        Rejected::Cluster(reason) => of_cluster(reason, sentence),
        Rejected::ReadOnly { why } => {
            Error::ReadOnly { cause: format!("It was restored from an older backup: {why}.") }
        }
        Rejected::TooNew { why } => Error::TooNew { cause: format!("{why}.") },
        Rejected::Epoch(_) => refused(sentence, "An epoch begins once.", "taffrail check"),
        Rejected::UnknownApp(app) => Error::NotFound { what: "app", name: app.to_string() },
        Rejected::NotPlaced { app, .. } => refused(
            sentence,
            "Git does not place it there, or nothing was delivered there yet.",
            format!("taffrail get app {app}"),
        ),
        Rejected::OtherBundle { app, cluster, waits } => other_bundle(&app.to_string(), &cluster, &waits),
        Rejected::NothingHeld { app, .. } => refused(
            sentence,
            "No guard holds it, or what it held was approved already.",
            format!("taffrail describe app {app}"),
        ),
    }
}

/// Something newer came between a person's look and their word.
pub(super) fn other_bundle(app: &str, cluster: &ClusterName, waits: &Digest) -> Error {
    refused(
        format!("app {app} on cluster {cluster} is to run another bundle by now"),
        format!("It is {}: a newer commit may delete something else.", waits.short()),
        format!("taffrail describe app {app}"),
    )
}

fn of_source(reason: source::Rejected, sentence: String) -> Error {
    match reason {
        source::Rejected::Exists { track, .. } => {
            conflict(sentence, format!("The name is taken by {track}."), "choose another one with --name")
        }
        source::Rejected::Unknown(name) => Error::NotFound { what: "source", name: name.to_string() },
        source::Rejected::NotParked(_) => {
            refused(sentence, "There is nothing to allow.", "taffrail get sources")
        }
    }
}

fn of_cluster(reason: cluster::Rejected, sentence: String) -> Error {
    match reason {
        cluster::Rejected::Joined(name) => conflict(
            sentence,
            "A name is one cluster: its agent has credentials and needs no token.",
            format!("taffrail cluster remove {name}, or choose another name"),
        ),
        cluster::Rejected::Unknown(name) => Error::NotFound { what: "cluster", name: name.to_string() },
        cluster::Rejected::NameTaken(_) => {
            conflict(sentence, "Two clusters cannot share a name.", "taffrail get clusters")
        }
        cluster::Rejected::RootInGit(name) => refused(
            sentence,
            "Its apps would be withdrawn: Git places them by name.",
            format!("add clusters/<new name> to Git beside clusters/{name}, then rename"),
        ),
        cluster::Rejected::NeverJoined(name) => refused(
            sentence,
            "There are no objects of ours in it, so nothing can be taken away.",
            format!("taffrail cluster remove {name}"),
        ),
    }
}
