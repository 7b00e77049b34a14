//! The objects of one cluster, seen and changed past Taffrail.

use super::fleet::BOUND;
use super::wait_for;
use anyhow::{Context, Result, bail, ensure};
use futures::{Stream, StreamExt};
use http::{Method, Request};
use kube::Client;
use kube::core::WatchEvent;
use serde_json::Value;

/// An API server and the paths of objects.
#[derive(Clone)]
pub struct Live {
    client: Client,
}

/// The path of an object: `plural` with its group and version, such as `api/v1` and `services`.
pub fn path(version: &str, namespace: &str, plural: &str, name: &str) -> String {
    match namespace {
        "" => format!("/{version}/{plural}/{name}"),
        _ => format!("/{version}/namespaces/{namespace}/{plural}/{name}"),
    }
}

/// A `ConfigMap`.
pub fn config_map(namespace: &str, name: &str) -> String {
    path("api/v1", namespace, "configmaps", name)
}

/// A `Service`.
pub fn service(namespace: &str, name: &str) -> String {
    path("api/v1", namespace, "services", name)
}

/// A `Deployment`.
pub fn deployment(namespace: &str, name: &str) -> String {
    path("apis/apps/v1", namespace, "deployments", name)
}

impl Live {
    pub fn new(client: Client) -> Live {
        Live { client }
    }

    async fn ask(&self, method: Method, path: &str, kind: &str, body: &Value) -> Result<Option<Value>> {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
        let request = Request::builder().method(method.clone()).uri(path).header("content-type", kind);
        match self.client.request::<Value>(request.body(body)?).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{method} {path}")),
        }
    }

    /// The object, if it is there.
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn find(&self, path: &str) -> Result<Option<Value>> {
        self.ask(Method::GET, path, "application/json", &Value::Null).await
    }

    /// The object, which must be there.
    ///
    /// # Errors
    /// It is not there, or the API server does not answer.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.find(path).await?.with_context(|| format!("{path} is not there"))
    }

    /// Changes an object as somebody else (`manager`) would: a merge patch.
    ///
    /// # Errors
    /// It is not there, or the API server refuses.
    pub async fn edit(&self, path: &str, manager: &str, change: &Value) -> Result<Value> {
        let path = format!("{path}?fieldManager={manager}");
        let edited = self.ask(Method::PATCH, &path, "application/merge-patch+json", change).await?;
        edited.with_context(|| format!("{path} is not there"))
    }

    /// Creates an object in a list.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn create(&self, list: &str, object: &Value) -> Result<Value> {
        let made = self.ask(Method::POST, list, "application/json", object).await?;
        made.with_context(|| format!("{list} is not served"))
    }

    /// Deletes an object that must be there.
    ///
    /// # Errors
    /// It is not there, or the API server refuses.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let gone = self.ask(Method::DELETE, path, "application/json", &Value::Null).await?;
        ensure!(gone.is_some(), "{path} is not there");
        Ok(())
    }

    /// The objects of a list as they are written after a version of it.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn watch(
        &self,
        list: &str,
        version: &str,
    ) -> Result<impl Stream<Item = Result<Value>> + use<>> {
        let path = format!("{list}?watch=1&resourceVersion={version}");
        let request = Request::builder().method(Method::GET).uri(&path).body(Vec::new())?;
        let changes =
            self.client.request_events::<Value>(request).await.with_context(|| format!("watch {path}"))?;
        let seen = |change: kube::Result<WatchEvent<Value>>| match change? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                Ok(object)
            }
            WatchEvent::Bookmark(_) => Ok(Value::Null),
            WatchEvent::Error(status) => bail!("the watch ended: {status:?}"),
        };
        Ok(StreamExt::map(changes, seen))
    }

    /// Waits until an object is there for which `fact` holds, and returns it.
    ///
    /// # Errors
    /// It is not so within the bound.
    pub async fn until(&self, path: &str, what: &str, fact: impl Fn(&Value) -> bool) -> Result<Value> {
        wait_for(&format!("{path}: {what}"), BOUND, async || {
            let found = self.get(path).await?;
            ensure!(fact(&found), "it is {found}");
            Ok(Some(found))
        })
        .await
    }

    /// Every state that an object was written to after the state `before`, as a watch tells them.
    ///
    /// # Errors
    /// The API server no longer knows that state, or the object went.
    pub async fn writes_since(&self, before: &Value) -> Result<Vec<Value>> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &before["metadata"];
        let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
        let version = text(&metadata["resourceVersion"]);
        // The past comes at once; the server ends the watch after a second without news.
        let path = format!(
            "/api/v1/namespaces/{namespace}/configmaps?watch=1&resourceVersion={version}&timeoutSeconds=1\
             &fieldSelector=metadata.name%3D{name}"
        );
        let request = Request::builder().method(Method::GET).uri(&path).body(Vec::new())?;
        let lines = self.client.request_text(request).await.with_context(|| format!("watch {path}"))?;
        let read = |line: &str| serde_json::from_str::<Value>(line).with_context(|| format!("read {line}"));
        let mut events = lines.lines().map(read).collect::<Result<Vec<Value>>>()?;
        ensure!(events.iter().all(|event| event["type"] == "MODIFIED"), "not only written: {lines}");
        Ok(events.iter_mut().map(|event| event["object"].take()).collect())
    }

    /// Waits until an object is there, and returns it.
    ///
    /// # Errors
    /// It is not there within the bound.
    pub async fn until_there(&self, path: &str) -> Result<Value> {
        wait_for(&format!("{path} is there"), BOUND, async || self.find(path).await).await
    }

    /// Waits until an object is gone.
    ///
    /// # Errors
    /// It is there for longer than the bound.
    pub async fn until_gone(&self, path: &str) -> Result<()> {
        wait_for(&format!("{path} is gone"), BOUND, async || {
            Ok(self.find(path).await?.is_none().then_some(()))
        })
        .await
    }
}

/// Uid and resource version: equal as long as nobody writes the object.
pub fn version(object: &Value) -> String {
    format!("{} {}", object["metadata"]["uid"], object["metadata"]["resourceVersion"])
}
