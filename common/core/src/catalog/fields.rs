//! The published lists: which fields, options and annotations are honoured, accepted with a warning, or refused.
//!
//! `docs/COMPATIBILITY.md` shows these tables, and a test holds them together.

/// What is done with a field, an option or an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has its effect.
    Honoured,
    /// It is accepted and has no effect, for this reason.
    Warned(&'static str),
    /// The manifest is refused, for this reason.
    Refused(&'static str),
    /// A map whose fields are judged one by one.
    Section,
}

use Verdict::{Honoured, Refused, Section, Warned};

/// One row: what it is about, and what is done with it. A name that ends with `*` stands for all that begin so.
pub type Row = (&'static str, Verdict);

/// Fields of both dialects, as JSON pointers.
pub const FIELDS: &[Row] = &[
    ("", Section),
    ("/apiVersion", Honoured),
    ("/kind", Honoured),
    ("/metadata", Section),
    ("/metadata/name", Honoured),
    ("/metadata/annotations", Section),
    ("/metadata/namespace", Warned("apps live in Git, not in a namespace")),
    ("/metadata/labels", Warned("labels of an app have no effect yet")),
    ("/metadata/finalizers", Warned("whether objects are deleted with the app is asked when it is removed")),
    ("/metadata/creationTimestamp", Warned("written by a server, no input")),
    ("/metadata/resourceVersion", Warned("written by a server, no input")),
    ("/metadata/generation", Warned("written by a server, no input")),
    ("/metadata/uid", Warned("written by a server, no input")),
    ("/metadata/managedFields", Warned("written by a server, no input")),
    ("/metadata/ownerReferences", Warned("written by a server, no input")),
    ("/metadata/generateName", Refused("an app needs a name of its own")),
    ("/spec", Section),
    ("/spec/source", Section),
    ("/spec/source/repoURL", Honoured),
    ("/spec/source/path", Honoured),
    ("/spec/source/targetRevision", Honoured),
    ("/spec/source/name", Warned("names of sources have no effect")),
    ("/spec/source/directory", Section),
    ("/spec/source/directory/recurse", Honoured),
    ("/spec/source/directory/include", Refused("patterns of files are not supported yet")),
    ("/spec/source/directory/exclude", Refused("patterns of files are not supported yet")),
    ("/spec/source/directory/jsonnet", Refused("jsonnet is not supported")),
    (
        "/spec/source/kustomize",
        Refused("settings beside the kustomization are not supported: write them into it"),
    ),
    ("/spec/source/helm", Refused("helm is not supported yet")),
    ("/spec/source/chart", Refused("helm is not supported yet")),
    ("/spec/source/plugin", Refused("plugins are not supported")),
    ("/spec/source/ref", Refused("a second source is not supported")),
    ("/spec/source/tagPrefix", Refused("choosing tags by pattern is not supported")),
    ("/spec/sources", Refused("a second source is not supported: use source")),
    ("/spec/sourceHydrator", Refused("the source hydrator is not supported")),
    ("/spec/destination", Section),
    ("/spec/destination/server", Honoured),
    ("/spec/destination/name", Honoured),
    ("/spec/destination/namespace", Honoured),
    ("/spec/syncPolicy", Section),
    ("/spec/syncPolicy/automated", Section),
    ("/spec/syncPolicy/automated/enabled", Honoured),
    ("/spec/syncPolicy/automated/prune", Honoured),
    ("/spec/syncPolicy/automated/selfHeal", Honoured),
    ("/spec/syncPolicy/automated/allowEmpty", Honoured),
    ("/spec/syncPolicy/syncOptions", Honoured),
    ("/spec/syncPolicy/retry", Warned("failed applies are retried with back-off, always")),
    (
        "/spec/syncPolicy/managedNamespaceMetadata",
        Refused("labels of the namespace are not set yet: declare the Namespace as a manifest"),
    ),
    (
        "/spec/ignoreDifferences",
        Refused("only fields that a manifest names are owned: leave out of it what others set"),
    ),
    ("/spec/info", Warned("shown nowhere yet")),
    ("/spec/revisionHistoryLimit", Warned("the log keeps the whole history")),
    ("/status", Warned("written by a server, no input")),
    ("/operation", Refused("an operation is asked for with taffrail sync")),
];

/// Fields that only an `Application` of Argo CD has.
pub const APPLICATION_FIELDS: &[Row] =
    &[("/spec/project", Warned("projects limit nothing here: sources are declared on the hub"))];

/// Fields that only an `App` of Taffrail has.
pub const APP_FIELDS: &[Row] = &[
    ("/spec/clusters", Honoured),
    ("/spec/rollout", Refused("rollouts are not supported yet")),
    ("/spec/analysis", Refused("analysis is not supported yet")),
    ("/spec/dependsOn", Refused("order between apps is not supported yet")),
];

/// Sync options of an app (`spec.syncPolicy.syncOptions`).
pub const APP_OPTIONS: &[Row] = &[
    ("CreateNamespace=true", Honoured),
    ("CreateNamespace=false", Honoured),
    ("Prune=false", Honoured),
    ("Prune=true", Honoured),
    ("PruneLast=true", Honoured),
    ("ServerSideApply=true", Honoured),
    ("Validate=true", Honoured),
    ("Replace=false", Honoured),
    ("Force=false", Honoured),
    ("PruneLast=false", Warned("objects are always pruned last")),
    ("ServerSideApply=false", Warned("objects are always applied on the server's side")),
    ("Validate=false", Warned("the API server validates every object")),
    ("ApplyOutOfSyncOnly=*", Warned("what did not change is not applied again, always")),
    ("PrunePropagationPolicy=*", Warned("objects are deleted in the background")),
    ("SkipDryRunOnMissingResource=*", Warned("a missing CRD is waited for and named")),
    ("ClientSideApplyMigration=*", Warned("fields are taken over as they are named")),
    ("FailOnSharedResource=*", Warned("an object of another app is never taken over")),
    ("RespectIgnoreDifferences=*", Warned("there are no ignored differences")),
    ("Prune=confirm", Refused("confirmed pruning is not supported yet: use Prune=false")),
    ("Delete=*", Refused("what happens to the objects is asked when the app is removed")),
    ("Replace=true", Refused("replacing objects is not supported")),
    ("Force=true", Refused("deleting and making objects anew is not supported")),
];

/// Options of one object (annotation `argocd.argoproj.io/sync-options`).
pub const OBJECT_OPTIONS: &[Row] = &[
    ("Prune=false", Honoured),
    ("Prune=true", Honoured),
    ("PruneLast=true", Honoured),
    ("ServerSideApply=true", Honoured),
    ("Validate=true", Honoured),
    ("Replace=false", Honoured),
    ("Force=false", Honoured),
    ("Prune=confirm", Warned("kept as with Prune=false: it cannot be confirmed yet")),
    ("Delete=false", Warned("only pruning keeps it: it goes when its app is removed with --cascade")),
    ("PruneLast=false", Warned("objects are always pruned last")),
    ("ServerSideApply=false", Warned("objects are always applied on the server's side")),
    ("Validate=false", Warned("the API server validates every object")),
    ("PrunePropagationPolicy=*", Warned("objects are deleted in the background")),
    ("SkipDryRunOnMissingResource=*", Warned("a missing CRD is waited for and named")),
    ("ClientSideApplyMigration=*", Warned("fields are taken over as they are named")),
    ("Delete=confirm", Refused("confirmed deletion is not supported yet")),
    ("Replace=true", Refused("replacing objects is not supported")),
    ("Force=true", Refused("deleting and making objects anew is not supported")),
];

/// Annotations of an app. Others that begin with none of these are not meant for Taffrail and stay without effect.
pub const APP_ANNOTATIONS: &[Row] = &[
    ("taffrail.dev/max-deletes", Honoured),
    ("argocd.argoproj.io/sync-wave", Warned("apps are delivered independently of each other")),
    ("argocd.argoproj.io/refresh", Warned("every commit is looked at")),
    ("argocd.argoproj.io/manifest-generate-paths", Warned("what a render read is known")),
    ("argocd.argoproj.io/compare-options", Warned("drift is judged by field ownership")),
    ("argocd.argoproj.io/tracking-id", Warned("written by Argo CD, no input")),
    ("notifications.argoproj.io/*", Warned("notifications are not supported yet")),
    ("link.argocd.argoproj.io/*", Warned("links are shown nowhere yet")),
    ("taffrail.dev/*", Refused("no such annotation")),
    ("argocd.argoproj.io/*", Refused("not supported")),
    ("argocd-image-updater.argoproj.io/*", Refused("images are not updated outside Git")),
];

/// Annotations of a rendered object.
pub const OBJECT_ANNOTATIONS: &[Row] = &[
    ("argocd.argoproj.io/sync-options", Honoured),
    ("kustomize.toolkit.fluxcd.io/prune", Honoured),
    ("helm.sh/resource-policy", Honoured),
    (
        "argocd.argoproj.io/sync-wave",
        Warned("objects are applied in the order of their kinds; waves come later"),
    ),
    ("argocd.argoproj.io/compare-options", Warned("drift is judged by field ownership")),
    ("argocd.argoproj.io/ignore-healthcheck", Warned("the health of every object counts")),
    ("argocd.argoproj.io/ignore-resource-updates", Warned("drift is judged by field ownership")),
    ("argocd.argoproj.io/deletion-approved", Warned("approval is given with taffrail approve")),
    ("argocd.argoproj.io/tracking-id", Warned("written by Argo CD, no input")),
    ("helm.sh/hook-weight", Warned("objects are applied in the order of their kinds")),
    ("link.argocd.argoproj.io/*", Warned("links are shown nowhere yet")),
    ("argocd.argoproj.io/hook", Refused("hooks are not supported yet")),
    ("argocd.argoproj.io/hook-delete-policy", Refused("hooks are not supported yet")),
    ("helm.sh/hook", Refused("hooks are not supported yet")),
    ("helm.sh/hook-delete-policy", Refused("hooks are not supported yet")),
    ("kustomize.toolkit.fluxcd.io/*", Refused("not supported")),
    ("argocd.argoproj.io/*", Refused("not supported")),
    ("taffrail.dev/*", Refused("written by Taffrail, no input")),
];

/// The verdict on `name`; `None` if no row speaks of it. An exact row wins over one that ends with `*`.
pub fn verdict(tables: &[&[Row]], name: &str) -> Option<Verdict> {
    let rows = || tables.iter().flat_map(|table| table.iter());
    let exact = rows().find(|(row, _)| *row == name);
    let open = || rows().find(|(row, _)| row.strip_suffix('*').is_some_and(|start| name.starts_with(start)));
    exact.or_else(open).map(|(_, verdict)| *verdict)
}
