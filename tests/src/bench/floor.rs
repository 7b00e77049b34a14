//! What nobody can do without: fetch, render, and a bare server-side-apply loop of the same objects.

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use taffrail_testkit::githttp::git;

/// Requests in flight of the bare loop: more were no faster (`performance.md` 8.1).
const IN_FLIGHT: usize = 8;

/// A clone that follows the repository by hand.
pub(super) struct Floor {
    clone: PathBuf,
    kustomize: PathBuf,
    objects: Api<ConfigMap>,
}

impl Floor {
    pub(super) fn new(
        url: &str,
        folder: &Path,
        kustomize: PathBuf,
        client: Client,
        namespace: &str,
    ) -> Result<Floor> {
        let clone = folder.to_owned();
        std::fs::create_dir_all(&clone)?;
        git(&clone, &["clone", "--quiet", url, "."]).context("clone")?;
        Ok(Floor { clone, kustomize, objects: Api::namespaced(client, namespace) })
    }

    /// Fetches, renders and applies the head of `main`; the time of all three, in milliseconds.
    pub(super) async fn round(&self, path: &str) -> Result<f64> {
        let start = Instant::now();
        git(&self.clone, &["fetch", "--quiet", "origin", "main"]).context("fetch")?;
        let fetched = start.elapsed();
        git(&self.clone, &["reset", "--quiet", "--hard", "FETCH_HEAD"]).context("reset")?;
        let start = Instant::now();
        let rendered = Command::new(&self.kustomize).arg("build").arg(self.clone.join(path)).output()?;
        ensure!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
        let built = start.elapsed();
        let text = String::from_utf8(rendered.stdout)?;
        let objects: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text)?;
        let start = Instant::now();
        futures::stream::iter(objects)
            .map(|object| self.apply(object))
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<Vec<()>>()
            .await?;
        Ok((fetched + built + start.elapsed()).as_secs_f64() * 1_000.0)
    }

    async fn apply(&self, mut object: serde_json::Value) -> Result<()> {
        let name = object["metadata"]["name"].as_str().context("an object has no name")?.to_owned();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
        self.objects.patch(&name, &PatchParams::apply("floor").force(), &Patch::Apply(&object)).await?;
        Ok(())
    }
}
