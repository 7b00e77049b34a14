//! What names one object in a cluster.

use alloc::string::{String, ToString};
use core::fmt;
use serde_json::Value;

/// Group, kind, namespace and name; the version stands apart because it does not identify.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Namespace, empty for objects without one.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// Reads the key of an object; `None` if kind or name is missing. The namespace is as written, empty if absent.
    pub fn of(object: &Value) -> Option<Key> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        Some(Key {
            group: group_of(text("/apiVersion")?).to_string(),
            kind: text("/kind")?.to_string(),
            namespace: text("/metadata/namespace").unwrap_or_default().to_string(),
            name: text("/metadata/name").filter(|name| !name.is_empty())?.to_string(),
        })
    }
}

/// Group of an `apiVersion`: `apps/v1` is `apps`, `v1` is empty.
pub fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Version of an `apiVersion`: `apps/v1` and `v1` are both `v1`.
pub fn version_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or(api_version, |(_, version)| version)
}

impl fmt::Display for Key {
    /// `Deployment.apps web/payments`, `Namespace web`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.kind)?;
        if !self.group.is_empty() {
            write!(out, ".{}", self.group)?;
        }
        out.write_str(" ")?;
        if !self.namespace.is_empty() {
            write!(out, "{}/", self.namespace)?;
        }
        out.write_str(&self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
