//! The agent's own Secrets: named values that change only from the version that was read.

use super::address::{JSON, escaped, request};
use super::client::{Caller, Reader};
use super::error::{ApiError, Kind, Secrecy};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Most bytes of data in one Secret; the API server itself stops at 1 MiB with everything around it.
const DATA_BYTES_MAX: usize = 700 << 10;

/// A Secret as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its data.
    pub data: BTreeMap<String, Vec<u8>>,
    /// Its resource version, to be given with the next write.
    pub version: String,
}

impl fmt::Debug for Stored {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.data.keys().collect();
        out.debug_struct("Stored").field("keys", &keys).field("version", &self.version).finish()
    }
}

/// What a write expects to find; anything else is [`Kind::Conflict`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No Secret of this name.
    Absent,
    /// The Secret at this version.
    Version(String),
}

/// The Secrets of one namespace, with the agent's own rights.
#[derive(Clone)]
pub struct Store {
    caller: Caller,
    namespace: String,
}

impl Store {
    /// In this namespace, usually `taffrail-system`.
    pub fn new(reader: &Reader, namespace: &str) -> Store {
        Store { caller: reader.0.clone(), namespace: namespace.to_owned() }
    }

    /// Where it is.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Reads a Secret; `None` if the server says that there is none.
    ///
    /// # Errors
    /// [`ApiError`] if it could not be read.
    pub async fn get(&self, name: &str) -> Result<Option<Stored>, ApiError> {
        let action = format!("read secret {}/{name}", self.namespace);
        let request = request(&action, Method::GET, &self.address(name), (JSON, JSON), Vec::new())?;
        match self.caller.call(&action, request, Secrecy::Secret).await {
            Ok(answer) => stored(&action, &answer.value).map(Some),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes all data of a Secret, and gives its new version.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if another one is there than expected; other [`ApiError`]s after which either may be true.
    pub async fn put(
        &self,
        name: &str,
        data: &BTreeMap<String, Vec<u8>>,
        expect: &Expect,
    ) -> Result<String, ApiError> {
        self.put_with(name, data, expect, &json!({})).await
    }

    /// The same, with labels and annotations.
    pub(super) async fn put_with(
        &self,
        name: &str,
        data: &BTreeMap<String, Vec<u8>>,
        expect: &Expect,
        meta: &Value,
    ) -> Result<String, ApiError> {
        let action = format!("write secret {}/{name}", self.namespace);
        let size: usize = data.iter().map(|(key, bytes)| key.len() + bytes.len()).sum();
        if size > DATA_BYTES_MAX {
            let message = format!("{size} bytes are more than the {DATA_BYTES_MAX} that fit");
            return Err(ApiError::new(action, Kind::Invalid, message));
        }
        let mut metadata = meta.as_object().cloned().unwrap_or_default();
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("namespace".to_owned(), json!(self.namespace));
        let (method, address) = match expect {
            Expect::Absent => (Method::POST, self.address("")),
            Expect::Version(version) => {
                metadata.insert("resourceVersion".to_owned(), json!(version));
                (Method::PUT, self.address(name))
            }
        };
        let data: Map<String, Value> =
            data.iter().map(|(key, bytes)| (key.clone(), json!(STANDARD.encode(bytes)))).collect();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data});
        let body = secret.to_string().into_bytes();
        let request =
            request(&action, method, &format!("{address}?fieldManager=taffrail-agent"), (JSON, JSON), body)?;
        match self.caller.call(&action, request, Secrecy::Secret).await {
            Ok(answer) => Ok(version(&answer.value)),
            // A version was expected and there is nothing: somebody deleted it in between.
            Err(error) if error.kind == Kind::NotFound => {
                Err(ApiError::new(action, Kind::Conflict, "the secret is not there any more"))
            }
            Err(error) => Err(error),
        }
    }

    /// Removes a Secret; it is no error if there is none.
    ///
    /// # Errors
    /// [`ApiError`] if it may still be there.
    pub async fn remove(&self, name: &str) -> Result<(), ApiError> {
        let action = format!("remove secret {}/{name}", self.namespace);
        let request = request(&action, Method::DELETE, &self.address(name), (JSON, JSON), Vec::new())?;
        match self.caller.call(&action, request, Secrecy::Secret).await {
            Err(error) if error.kind != Kind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn address(&self, name: &str) -> String {
        let list = format!("/api/v1/namespaces/{}/secrets", escaped(&self.namespace));
        if name.is_empty() { list } else { format!("{list}/{}", escaped(name)) }
    }
}

fn version(secret: &Value) -> String {
    secret.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn stored(action: &str, secret: &Value) -> Result<Stored, ApiError> {
    let nonsense = || ApiError::new(action, Kind::Other, "its data is not base64");
    let mut data = BTreeMap::new();
    for (key, value) in secret.get("data").and_then(Value::as_object).into_iter().flatten() {
        let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).map_err(|_| nonsense())?;
        data.insert(key.clone(), bytes);
    }
    Ok(Stored { data, version: version(secret) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_read_and_never_shown() {
        let secret =
            json!({"metadata": {"resourceVersion": "7"}, "data": {"token": STANDARD.encode("hush")}});
        let stored = stored("read", &secret).unwrap();
        assert_eq!(stored.data["token"], b"hush");
        assert_eq!(format!("{stored:?}"), r#"Stored { keys: ["token"], version: "7" }"#);
        assert!(super::stored("read", &json!({"data": {"token": "?"}})).is_err());
    }
}
