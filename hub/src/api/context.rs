//! The administrator's context: what a hub leaves for the `taffrail` command on the same machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::auth::write_private;
use super::service::Secret;

/// Largest context file that is changed, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why the context could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("write the context file {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What is there already is no context file; it is left as it is.
    #[error("{path} exists and is no context file: {detail}", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

/// A way to a hub.
pub struct Context<'a> {
    /// Its name in the file; a context of that name is replaced.
    pub name: &'a str,
    /// `https://host:port`.
    pub hub: &'a str,
    /// The authority's certificate, as PEM.
    pub ca: &'a str,
    /// The bearer token.
    pub token: &'a Secret,
}

/// Puts `context` into the file at `path`, which is made if it is missing and keeps its other contexts; it becomes the
/// current one if none is.
///
/// # Errors
/// The file cannot be read or written, or holds something else.
pub fn write(path: &Path, context: &Context<'_>) -> Result<(), Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let foreign = |detail: &str| Error::Foreign { path: path.to_owned(), detail: detail.to_owned() };
    let mut file = match fs::metadata(path) {
        Ok(meta) if meta.len() > FILE_BYTES_MAX => return Err(foreign("it is larger than 1 MiB")),
        Ok(_) => {
            let text = fs::read_to_string(path).map_err(failed)?;
            if text.trim().is_empty() {
                Map::new()
            } else {
                // The parser's message is left out: it may quote a token.
                let value: Value = serde_saphyr::from_str(&text).map_err(|_| foreign("it is not YAML"))?;
                value.as_object().cloned().ok_or_else(|| foreign("it is not a mapping"))?
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
        Err(error) => return Err(failed(error)),
    };
    let contexts = file.entry("contexts").or_insert_with(|| json!([]));
    let list = contexts.as_array_mut().ok_or_else(|| foreign("its contexts are not a list"))?;
    list.retain(|other| other["name"] != context.name);
    list.push(json!({
        "name": context.name, "hub": context.hub, "ca": context.ca, "token": context.token.0,
    }));
    file.entry("current-context").or_insert_with(|| json!(context.name));
    let text =
        serde_saphyr::to_string(&Value::Object(file)).map_err(|_| foreign("it cannot be written as YAML"))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    write_private(path, text.as_bytes()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\n-----END CERTIFICATE-----\n";

    fn context<'a>(name: &'a str, token: &'a Secret) -> Context<'a> {
        Context { name, hub: "https://127.0.0.1:7443", ca: PEM, token }
    }

    #[test]
    fn a_context_is_added_beside_others_and_replaces_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("config.yaml");
        let (one, two) = (Secret("one".into()), Secret("two".into()));
        write(&path, &context("lab", &one)).unwrap();
        write(&path, &context("shop", &one)).unwrap();
        write(&path, &context("lab", &two)).unwrap();
        let read: Value = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(read["current-context"], "lab");
        assert_eq!(read["contexts"].as_array().unwrap().len(), 2);
        assert_eq!((&read["contexts"][1]["token"], &read["contexts"][1]["ca"]), (&json!("two"), &json!(PEM)));
    }

    #[test]
    fn a_file_of_someone_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        for text in ["- a\n", "contexts: 3\n", "a: [\n"] {
            fs::write(&path, text).unwrap();
            let token = Secret("x".into());
            assert!(write(&path, &context("lab", &token)).is_err(), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
