//! What a rendered object asks for by its annotations.

use alloc::vec::Vec;
use serde_json::Value;

use super::{
    application::{below, judge_annotations, judge_option, refused},
    declared::{Refused, Warning},
    fields::{OBJECT_ANNOTATIONS, OBJECT_OPTIONS},
};

const OPTIONS: &str = "argocd.argoproj.io/sync-options";
const FLUX_PRUNE: &str = "kustomize.toolkit.fluxcd.io/prune";
const HELM_POLICY: &str = "helm.sh/resource-policy";

/// Whether an object that left the manifests is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    /// Yes, within the guards.
    Allowed,
    /// It stays in the cluster.
    Never,
}

/// Reads the annotations of a rendered object that concern delivery.
///
/// # Errors
/// [`Refused`] for hooks, unknown options, and annotations whose effect would be missed.
pub fn judge(object: &Value) -> Result<(Prune, Vec<Warning>), Refused> {
    let mut warnings = Vec::new();
    judge_annotations(object, OBJECT_ANNOTATIONS, &mut warnings)?;
    let annotation = |name: &str| {
        object.pointer("/metadata/annotations").and_then(|all| all.get(name)).and_then(Value::as_str)
    };
    let pointer = |name: &str| below("/metadata/annotations", name);
    let mut prune = Prune::Allowed;
    for option in annotation(OPTIONS).unwrap_or_default().split(',').map(str::trim) {
        if option.is_empty() {
            continue;
        }
        judge_option(option, &pointer(OPTIONS), OBJECT_OPTIONS, &mut warnings)?;
        if matches!(option, "Prune=false" | "Prune=confirm") {
            prune = Prune::Never;
        }
    }
    match annotation(FLUX_PRUNE) {
        None | Some("enabled") => {}
        Some("disabled") => prune = Prune::Never,
        Some(_) => return Err(refused(pointer(FLUX_PRUNE), "must be enabled or disabled")),
    }
    match annotation(HELM_POLICY) {
        None => {}
        Some("keep") => prune = Prune::Never,
        Some(_) => return Err(refused(pointer(HELM_POLICY), "must be keep")),
    }
    warnings.sort();
    Ok((prune, warnings))
}
