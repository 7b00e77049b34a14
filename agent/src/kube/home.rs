//! The agent's namespace and the identity that applies, for an agent that was not installed from a manifest.

use super::address::{JSON, request};
use super::client::Reader;
use super::error::{ApiError, Kind, Secrecy};
use http::Method;
use serde_json::{Value, json};

/// What a plain process makes for itself where it is missing.
#[derive(Clone, Debug)]
pub struct Home {
    /// The agent's namespace.
    pub namespace: String,
    /// The user that applies: `system:serviceaccount:NAMESPACE:NAME`.
    pub applier: String,
}

/// Makes the namespace, the service account that applies, and its binding to `cluster-admin`, each only where it is
/// missing. Returns what was made. With a manifest all of it is there, and nothing is asked of anyone.
///
/// # Errors
/// [`ApiError`] if something is missing and cannot be made.
pub async fn prepare(reader: &Reader, home: &Home) -> Result<Vec<String>, ApiError> {
    let account = home.applier.rsplit(':').next().unwrap_or_default();
    let namespace = &home.namespace;
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned();
    let named = |name: &str| json!({ "name": name, "labels": { "app.kubernetes.io/part-of": "taffrail" } });
    let wanted = [
        (
            "/api/v1/namespaces".to_owned(),
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": named(namespace) }),
        ),
        (accounts, json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": named(account) })),
        (
            bindings,
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": named(account),
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
                "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": namespace }],
            }),
        ),
    ];
    let mut made = Vec::new();
    for (list, object) in wanted {
        if create(reader, &list, &object).await? {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            made.push(format!("{} {name}", object["kind"].as_str().unwrap_or_default()));
        }
    }
    Ok(made)
}

/// Creates an object unless one of its name is there.
async fn create(reader: &Reader, list: &str, object: &Value) -> Result<bool, ApiError> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let action = format!("make {} {name}", object["kind"].as_str().unwrap_or_default());
    let look = request(&action, Method::GET, &format!("{list}/{name}"), (JSON, JSON), Vec::new())?;
    match reader.0.call(&action, look, Secrecy::Open).await {
        Ok(_) => return Ok(false),
        Err(error) if matches!(error.kind, Kind::NotFound | Kind::NamespaceMissing) => {}
        Err(error) => return Err(error),
    }
    let make = request(&action, Method::POST, list, (JSON, JSON), object.to_string().into_bytes())?;
    match reader.0.call(&action, make, Secrecy::Open).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == Kind::Conflict => Ok(false),
        Err(error) => Err(error),
    }
}

/// Version of Kubernetes, and the uid of `kube-system`, which tells two clusters apart. Empty where not known.
pub async fn cluster(reader: &Reader) -> (String, String) {
    let read = async |path: &str, pointer: &str| {
        let asked = request("look at the cluster", Method::GET, path, (JSON, JSON), Vec::new()).ok()?;
        let answer = reader.0.call("look at the cluster", asked, Secrecy::Open).await.ok()?;
        answer.value.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
    };
    let version = read("/version", "/gitVersion").await.unwrap_or_default();
    let uid = read("/api/v1/namespaces/kube-system", "/metadata/uid").await.unwrap_or_default();
    (version, uid)
}
