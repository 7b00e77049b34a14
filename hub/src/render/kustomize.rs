//! Builds a planned kustomization with the `kustomize` program.

use std::{io, os::unix::fs::symlink, path::Path};

use super::{
    Error, Reason, Settings, child,
    plan::Plan,
    yaml::{self, Document},
};

/// Longest message of the program that is kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 2_000;

/// Writes the planned files into a folder of their own, builds, and reads the result.
pub(super) async fn build(settings: &Settings, plan: &Plan, folder: &str) -> Result<Vec<Document>, Error> {
    let machine =
        |error: io::Error| Error::new(Reason::Machine, folder, format!("prepare the folder: {error}"));
    let scratch = tempfile::Builder::new().prefix("taffrail-render-").tempdir().map_err(machine)?;
    let root = scratch.path().join("repo");
    write(&root, plan).map_err(machine)?;
    let target = if folder.is_empty() { root.clone() } else { root.join(folder) };
    let arguments = ["build", "--load-restrictor", "LoadRestrictionsRootOnly"].map(Into::into);
    let arguments: Vec<_> = arguments.into_iter().chain([target.into_os_string()]).collect();
    let output = child::run(settings, &arguments, scratch.path()).await?;
    if !output.is_success {
        let message = readable(&output.message, &root);
        let reason = if output.is_killed { Reason::Limit } else { Reason::Manifest };
        let cause = if message.is_empty() { "kustomize ended without a message".to_owned() } else { message };
        return Err(Error::new(reason, folder, cause));
    }
    let name = format!("kustomize build {}", if folder.is_empty() { "." } else { folder });
    Ok(yaml::read(&output.text, &name)?)
}

fn write(root: &Path, plan: &Plan) -> io::Result<()> {
    std::fs::create_dir_all(root)?;
    for (path, bytes) in &plan.files {
        let path = root.join(path);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(path, bytes)?;
    }
    for (path, target) in &plan.links {
        let path = root.join(path);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        symlink(target, path)?;
    }
    Ok(())
}

/// The message without the folder's name, on one line, cut.
fn readable(message: &[u8], root: &Path) -> String {
    let text = String::from_utf8_lossy(message).replace(&format!("{}/", root.display()), "");
    let text = text.replace(&root.display().to_string(), ".");
    let words: Vec<&str> = text.trim_start_matches("Error: ").split_whitespace().collect();
    crate::git::error::cut(&words.join(" "), MESSAGE_BYTES_MAX).to_owned()
}
