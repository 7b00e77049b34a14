//! The identity as a Secret in the agent's namespace.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{SECRET_KEY, SECRET_NAME, Store, StoreError};
use crate::kube::secret::{self, Expect};

/// The Secret [`SECRET_NAME`]. A write that meets another version than the one that was read fails, so that of two agents
/// that start at once one learns the other's keys instead of replacing them.
pub struct Secret {
    secrets: secret::Store,
    seen: Mutex<Expect>,
}

impl Secret {
    /// Keeps the identity in the namespace of `secrets`.
    pub fn new(secrets: secret::Store) -> Secret {
        Secret { secrets, seen: Mutex::new(Expect::Absent) }
    }
}

#[async_trait]
impl Store for Secret {
    async fn load(&self) -> Result<Option<String>, StoreError> {
        let failed = |source| StoreError { action: format!("read the secret {SECRET_NAME}"), source };
        let mut seen = self.seen.lock().await;
        let Some(mut stored) = self.secrets.get(SECRET_NAME).await.map_err(|error| failed(error.into()))?
        else {
            *seen = Expect::Absent;
            return Ok(None);
        };
        *seen = Expect::Version(stored.version);
        let text = stored.data.remove(SECRET_KEY).map(String::from_utf8).transpose();
        // The bytes are not repeated, because they are secret.
        text.map_err(|error| failed(error.utf8_error().into()))
    }

    async fn save(&self, text: &str) -> Result<(), StoreError> {
        let mut seen = self.seen.lock().await;
        let data = BTreeMap::from([(SECRET_KEY.to_owned(), text.as_bytes().to_vec())]);
        let version = self.secrets.put(SECRET_NAME, &data, &seen).await.map_err(|error| StoreError {
            action: format!("write the secret {SECRET_NAME}"),
            source: error.into(),
        })?;
        *seen = Expect::Version(version);
        Ok(())
    }
}
