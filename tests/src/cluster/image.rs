//! Container images of what was built with the tests, made as `make image` makes them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::programs::Programs;
use crate::harness::program;

/// An image in a file.
#[derive(Clone, Debug)]
pub struct Image {
    /// Name and tag.
    pub reference: String,
    /// The archive.
    pub archive: PathBuf,
}

impl Image {
    /// Makes the image `name` (`agent`, `hub` or `part`) in `folder`, of the programs beside the running test.
    ///
    /// # Errors
    /// A program is missing, or cannot be packed.
    pub async fn build(name: &str, folder: &Path) -> Result<Image> {
        let maker = program("taffrail-xtask")?;
        let built = maker.parent().context("a program is in a folder")?;
        let profile = match built.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            other => other.context("a folder has a name")?,
        };
        let output = Command::new(&maker)
            .args(["image", "--quick", "--profile", profile, "--out"])
            .args([folder.as_os_str(), name.as_ref()])
            .env("CARGO_TARGET_DIR", built.parent().unwrap_or(built))
            .env("TAFFRAIL_CACHE", Programs::find().cache())
            .output()
            .await
            .context("start xtask")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "make the image of {name}: {said}");
        let reference = said.lines().find_map(|line| line.strip_prefix("image: ")?.split(' ').next());
        let reference = reference.context("xtask names the image")?.to_owned();
        Ok(Image { reference, archive: folder.join(format!("taffrail-{name}.tar")) })
    }
}
