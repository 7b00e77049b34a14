//! Addresses of objects and lists on the API server, with every part escaped.

use super::Served;
use super::error::{ApiError, Kind, Secrecy};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use std::fmt::Write;
use taffrail_core::object::Key;

/// Plain JSON.
pub(super) const JSON: &str = "application/json";
/// Metadata alone, from servers that can; all of the object from those that cannot.
pub(super) const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json";
/// Server-side apply; JSON is YAML.
pub(super) const APPLY: &str = "application/apply-patch+yaml";

/// Address of all objects of a kind in a namespace, or in all of them where `namespace` is empty.
pub(super) fn of_list(served: &Served, namespace: &str) -> String {
    let gvk = &served.gvk;
    let mut path =
        if gvk.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", escaped(&gvk.group)) };
    let _ = write!(path, "/{}", escaped(&gvk.version));
    if served.namespaced && !namespace.is_empty() {
        let _ = write!(path, "/namespaces/{}", escaped(namespace));
    }
    let _ = write!(path, "/{}", escaped(&served.plural));
    path
}

/// Address of one object.
///
/// # Errors
/// [`Kind::Invalid`] if the name cannot stand in an address, or a namespace is missing or too much.
pub(super) fn of_object(action: &str, served: &Served, key: &Key) -> Result<String, ApiError> {
    let wrong = |message: &str| Err(ApiError::new(action, Kind::Invalid, message));
    match key.name.as_str() {
        "" | "." | ".." => return wrong("the name is empty or a path"),
        name if name.contains(['/', '%']) => return wrong("the name holds / or %"),
        _ => {}
    }
    match (served.namespaced, key.namespace.is_empty()) {
        (true, true) => wrong("the object has no namespace, and its kind needs one"),
        (false, false) => wrong("the object has a namespace, and its kind has none"),
        _ => Ok(format!("{}/{}", of_list(served, &key.namespace), escaped(&key.name))),
    }
}

/// Keeps what may stand in a path or a query as it is, and escapes all other bytes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A request with a JSON body, empty for those that have none.
///
/// # Errors
/// [`Kind::Invalid`] if the address cannot be one.
pub(super) fn request(
    action: &str,
    method: Method,
    address: &str,
    content: (&'static str, &'static str),
    body: Vec<u8>,
) -> Result<Request<Vec<u8>>, ApiError> {
    let (accept, content_type) = content;
    let builder = Request::builder().method(method).uri(address);
    let builder = builder.header(ACCEPT, accept).header(CONTENT_TYPE, content_type);
    builder.body(body).map_err(|error| ApiError::new(action, Kind::Invalid, error))
}

/// Whether the server's words about an object may be repeated.
pub(super) fn secrecy(key: &Key) -> Secrecy {
    if is_secret(key) { Secrecy::Secret } else { Secrecy::Open }
}

/// Whether an object is a Secret of the core group.
pub(super) fn is_secret(key: &Key) -> bool {
    key.group.is_empty() && key.kind == "Secret"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::Gvk;

    fn served(api_version: &str, kind: &str, plural: &str, namespaced: bool) -> Served {
        Served { gvk: Gvk::new(api_version, kind), plural: plural.to_owned(), namespaced }
    }

    fn key(namespace: &str, name: &str) -> Key {
        Key {
            group: String::new(),
            kind: String::new(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn addresses_are_those_of_the_api_server() {
        let (deployments, namespaces, roles) = (
            served("apps/v1", "Deployment", "deployments", true),
            served("v1", "Namespace", "namespaces", false),
            served("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false),
        );
        for (served, key, address) in [
            (&deployments, key("web", "payments"), "/apis/apps/v1/namespaces/web/deployments/payments"),
            (&namespaces, key("", "web"), "/api/v1/namespaces/web"),
            (&roles, key("", "system:a b"), "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%20b"),
        ] {
            assert_eq!(of_object("apply", served, &key).unwrap(), address);
        }
        assert_eq!(of_list(&deployments, ""), "/apis/apps/v1/deployments");
        for (served, key) in [
            (&deployments, key("", "payments")),
            (&namespaces, key("web", "web")),
            (&namespaces, key("", "..")),
            (&namespaces, key("", "a/status")),
            (&namespaces, key("", "")),
        ] {
            assert_eq!(of_object("apply", served, &key).unwrap_err().kind, Kind::Invalid);
        }
    }
}
