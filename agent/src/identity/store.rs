//! The identity as a file in the state directory.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use taffrail_runtime::secret;

use super::{Store, StoreError};

/// A file `identity.json`, mode 0600, in a folder with mode 0700.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Keeps the identity in `folder`, which is made if it is missing.
    pub fn new(folder: &Path) -> Directory {
        Directory { path: folder.join("identity.json") }
    }
}

fn failed(action: &str, source: secret::Error) -> StoreError {
    StoreError { action: action.to_owned(), source: Box::new(source) }
}

#[async_trait]
impl Store for Directory {
    async fn load(&self) -> Result<Option<String>, StoreError> {
        secret::read(&self.path).map_err(|source| failed("read the agent's identity", source))
    }

    /// A state directory belongs to one agent (its journal is locked), so nobody else can have saved.
    async fn save(&self, text: &str) -> Result<(), StoreError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        secret::make_folder(folder)
            .and_then(|()| secret::write(&self.path, text))
            .map_err(|source| failed("keep the agent's identity", source))
    }
}
