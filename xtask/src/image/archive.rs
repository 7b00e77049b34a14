//! An image as one file: an OCI layout in a tar, which `ctr`, `podman`, `skopeo` and `crane` read.

use std::env::consts::ARCH;

use anyhow::{Context, Result};
use ring::digest::{SHA256, digest as hash};
use serde_json::{Value, json};
use tar::{Builder, Header};

use super::layer::Layer;
use super::recipe::Recipe;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image whose layer is packed.
pub(super) struct Image<'a> {
    recipe: &'a Recipe,
    layer: Layer,
}

/// `sha256:` and the digest in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in hash(&SHA256, bytes).as_ref() {
        let digits = [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16));
        text.extend(digits.into_iter().flatten());
    }
    text
}

impl Image<'_> {
    pub(super) fn new(recipe: &Recipe, layer: Layer) -> Image<'_> {
        Image { recipe, layer }
    }

    /// The whole file.
    pub(super) fn archive(self) -> Result<Vec<u8>> {
        let architecture = match ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = written(&json!({
            "architecture": architecture,
            "os": "linux",
            "config": self.recipe.settings()?,
            "rootfs": {"type": "layers", "diff_ids": [self.layer.diff_id]},
        }))?;
        let manifest = written(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(LAYER, &self.layer.packed)],
        }))?;
        let mut entry = descriptor(MANIFEST, &manifest);
        entry["annotations"] = json!({
            "org.opencontainers.image.ref.name": self.recipe.tag,
            "io.containerd.image.name": self.recipe.reference(),
        });
        let index = written(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}))?;
        let layout = written(&json!({"imageLayoutVersion": "1.0.0"}))?;
        let mut builder = Builder::new(Vec::new());
        for blob in [&config, &manifest, &self.layer.packed] {
            append(&mut builder, &format!("blobs/{}", digest(blob).replace(':', "/")), blob)?;
        }
        append(&mut builder, "index.json", &index)?;
        append(&mut builder, "oci-layout", &layout)?;
        builder.into_inner().context("end the archive")
    }
}

fn written(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("write JSON")
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
}

fn append(builder: &mut Builder<Vec<u8>>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    header.set_mtime(0);
    builder.append_data(&mut header, path, bytes).with_context(|| format!("write {path}"))
}
