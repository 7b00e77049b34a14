//! Mirrors by repository, and the credentials that open them.

use crate::git::remote::Limits;
use crate::git::url::FileUrls;
use crate::git::{Address, Credentials, GixMirror, Mirror, Remote, Secret};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use taffrail_proto::sign::sha256;
use taffrail_runtime::secret;

/// How to log in to one repository.
#[derive(Clone, Debug)]
pub struct Credential {
    /// User name; forges ignore it when the password is a token.
    pub username: String,
    /// Password or token.
    pub password: Secret,
}

/// All mirrors, each opened when it is first needed. Credentials lie beside them, one file of mode 0600 a repository.
pub struct Mirrors {
    folder: PathBuf,
    files: FileUrls,
    limits: Limits,
    open: Mutex<BTreeMap<String, Arc<GixMirror>>>,
}

impl Mirrors {
    /// Mirrors below `folder`.
    pub fn new(folder: PathBuf, files: FileUrls, limits: Limits) -> Mirrors {
        Mirrors { folder, files, limits, open: Mutex::default() }
    }

    /// The checked spelling of a URL.
    ///
    /// # Errors
    /// When its scheme is not allowed or it is malformed.
    pub fn check(&self, url: &str) -> Result<Address, crate::git::url::InvalidAddress> {
        Address::parse(url, self.files)
    }

    /// The mirror of a repository.
    ///
    /// # Errors
    /// When the URL is refused, or the mirror or its credentials cannot be opened.
    pub fn get(&self, url: &str) -> anyhow::Result<Arc<dyn Mirror>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mirror) = open.get(url) {
            return Ok(mirror.clone());
        }
        let remote = Remote { url: self.check(url)?, credentials: self.credentials(url)? };
        let mirror = Arc::new(GixMirror::open(&self.folder.join(name(url)), remote, self.limits)?);
        open.insert(url.to_owned(), mirror.clone());
        Ok(mirror)
    }

    /// Keeps, or with `None` forgets, the credentials of a repository.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&self, url: &str, credential: Option<&Credential>) -> anyhow::Result<()> {
        let path = self.folder.join(format!("{}.login", name(url)));
        match credential {
            Some(credential) => {
                secret::make_folder(&self.folder)?;
                let text = format!("{}\n{}", credential.username, credential.password.expose());
                secret::write(&path, &text)?;
            }
            None if path.exists() => std::fs::remove_file(&path).context("remove credentials")?,
            None => {}
        }
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(url);
        Ok(())
    }

    /// The user name with which a repository is logged in to; `None` without a login.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn user(&self, url: &str) -> anyhow::Result<Option<String>> {
        Ok(self.credentials(url)?.map(|login| login.username))
    }

    fn credentials(&self, url: &str) -> anyhow::Result<Option<Credentials>> {
        let path = self.folder.join(format!("{}.login", name(url)));
        let Some(text) = secret::read(&path)? else { return Ok(None) };
        let (username, password) = text.split_once('\n').context("read credentials: no password")?;
        Ok(Some(Credentials { username: username.to_owned(), password: Secret::new(password) }))
    }
}

/// A folder name for a URL: readable, and unique by digest.
fn name(url: &str) -> String {
    let last = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let readable: String = last.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
    format!("{readable}-{}", sha256(url.as_bytes()).short())
}
