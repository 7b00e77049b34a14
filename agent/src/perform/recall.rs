//! Members that the inventory in the cluster names beyond the bundle: of a journal that was lost, or in a cluster that was
//! restored from a backup.

use super::{Tools, object};
use crate::kube::{Kind, labels};
use anyhow::Context as _;
use serde_json::Value;
use taffrail_core::catalog::object_rules::{self, Prune};
use taffrail_core::id::AppId;
use taffrail_core::object::Key;
use taffrail_core::object::key::version_of;
use taffrail_core::sync::{Object, Recalled, Stray};

/// Reads the inventory in the cluster beside the bundle. What it names beyond that, or what `left` it, is ours if it is there and carries our
/// mark, and stays if it says so itself.
///
/// # Errors
/// Anything that could not be read: what is not known is not nothing.
pub(super) async fn recall(
    tools: &Tools,
    app: &AppId,
    left: &[Key],
    objects: &[Object],
) -> anyhow::Result<Recalled> {
    let read = tools.inventories.read(app).await.context("read the inventory in the cluster")?;
    let (mut recalled, beyond) = Recalled::compare(read.as_ref(), left, objects);
    for key in beyond {
        match object::marked(tools, app, key).await {
            Ok(Some(live)) => recalled.strays.push(stray(key, &live)),
            Ok(None) => {}
            // With its definition every object of a kind is gone.
            Err(error) if error.kind == Kind::MissingKind => {}
            Err(error) => return Err(error).context("read a member of the inventory in the cluster"),
        }
    }
    Ok(recalled)
}

fn stray(key: &Key, live: &Value) -> Stray {
    let version = live.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let mut said = serde_json::json!({ "metadata": { "annotations": {} } });
    if let Some(annotations) = live.pointer("/metadata/annotations").and_then(Value::as_object) {
        let theirs =
            annotations.iter().filter(|(name, _)| ![labels::APP, labels::COMMIT].contains(&name.as_str()));
        said["metadata"]["annotations"] = theirs.map(|(name, value)| (name.clone(), value.clone())).collect();
    }
    // What cannot be understood is kept.
    let keep = !matches!(object_rules::judge(&said), Ok((Prune::Allowed, _)));
    Stray { key: key.clone(), version: version_of(version).to_owned(), uid: object::uid(live), keep }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stray_is_kept_if_it_says_so_or_says_what_nobody_understands() {
        let ours = json!({labels::APP: "shop/web", labels::COMMIT: "a".repeat(40)});
        let cases = [
            (json!({}), false),
            (json!({"argocd.argoproj.io/sync-options": "Prune=false"}), true),
            (json!({"argocd.argoproj.io/hook": "PreSync"}), true),
            (json!({"example.com/team": "green"}), false),
        ];
        for (theirs, keep) in cases {
            let mut annotations = ours.clone();
            annotations.as_object_mut().unwrap().extend(theirs.as_object().unwrap().clone());
            let live = json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "web", "namespace": "web", "uid": "u", "annotations": annotations},
            });
            let key = Key::of(&live).unwrap();
            let stray = stray(&key, &live);
            assert_eq!(
                (stray.version.as_str(), stray.uid.as_str(), stray.keep),
                ("v1", "u", keep),
                "{theirs}"
            );
        }
    }
}
