//! What an app declares, once its manifest is read.

use alloc::string::String;

use crate::{
    id::{AppName, ClusterName},
    selector::Selector,
};

/// An app as it is declared in Git.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: AppName,
    /// The repository, as written; it must be a declared source.
    pub repo_url: String,
    /// Folder in the repository, without slashes at its ends; empty for the root.
    pub path: String,
    /// Branch, tag, commit or `HEAD`.
    pub target_revision: String,
    /// How its folder becomes objects.
    pub render: Render,
    /// Where it goes.
    pub destination: Destination,
    /// Namespace of objects that name none.
    pub namespace: Option<String>,
    /// When and how it is delivered.
    pub sync: SyncPolicy,
    /// Most objects that one delivery may delete without approval, if the default is not wanted.
    pub max_deletes: Option<MaxDeletes>,
}

/// How a folder becomes objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Render {
    /// Kustomize if the folder holds a kustomization, else its files.
    Auto,
    /// The manifests in the folder, with or without those in its sub-folders.
    Directory {
        /// Whether sub-folders count.
        recurse: bool,
    },
    /// Kustomize, always.
    Kustomize,
}

/// Where an app goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The cluster whose root holds the declaration.
    Here,
    /// A cluster by its name.
    Cluster(ClusterName),
    /// Every cluster with matching labels.
    Selector(Selector),
}

/// When and how an app is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the published format")]
pub struct SyncPolicy {
    /// Deliver new commits without being asked.
    pub automated: bool,
    /// Delete objects that left the manifests.
    pub prune: bool,
    /// Put back what others changed.
    pub self_heal: bool,
    /// Allow a delivery that leaves no object.
    pub allow_empty: bool,
    /// Make the destination's namespace if it is missing.
    pub create_namespace: bool,
}

/// How many objects a delivery may delete without approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxDeletes {
    /// A share of the app's objects, 0 to 100.
    Percent(u8),
    /// A number of objects.
    Count(u32),
}

/// Something that is accepted and has no effect, or another one than the author may expect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct Warning {
    /// JSON pointer of the field.
    pub pointer: String,
    /// What is not done.
    pub message: String,
}

/// Why a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct Refused {
    /// JSON pointer of the field.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
}
