//! Container images of hub and agent, made without a daemon: `xtask image [--profile P] [--out DIR] [agent|hub|part]...`.
//!
//! ```text
//! recipe: which programs ──► closure: the libraries that they load ──► layer: one tar, zstd ──► archive: an OCI layout
//! ```
//! An image holds one layer with the programs, the shared libraries that the dynamic linker of this machine finds for
//! them, and a user without rights. There is no shell and no package manager in it. The same input gives the same bytes.

mod archive;
mod closure;
mod layer;
mod recipe;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use self::archive::Image;
use self::layer::Layer;
use self::recipe::{Places, Recipe};

const MEGABYTE: f64 = 1_000_000.0;

/// What the command line asks for.
struct Order {
    profile: String,
    out: PathBuf,
    names: Vec<String>,
    /// Compress little, and skip what a machine of one's own does not need.
    quick: bool,
}

/// Writes the images, one file each, and prints their sizes.
pub(crate) fn run(root: &Path, arguments: impl Iterator<Item = String>) -> Result<()> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let order = parse(arguments, &target)?;
    let folder = if order.profile == "dev" { "debug" } else { &order.profile };
    let tools = env::var_os("TAFFRAIL_CACHE").map(|cache| PathBuf::from(cache).join("bin"));
    let places = Places { root: root.to_owned(), built: target.join(folder), tools };
    fs::create_dir_all(&order.out).with_context(|| format!("make {}", order.out.display()))?;
    for name in &order.names {
        let recipe = Recipe::find(name, &places)?;
        write(&recipe, &order).with_context(|| format!("make the image of {name}"))?;
    }
    Ok(())
}

fn parse(mut arguments: impl Iterator<Item = String>, target: &Path) -> Result<Order> {
    let mut order =
        Order { profile: "release".to_owned(), out: target.join("image"), names: Vec::new(), quick: false };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--profile" => order.profile = value()?,
            "--out" => order.out = value()?.into(),
            "--quick" => order.quick = true,
            name if name.starts_with('-') => bail!("image does not know {name}"),
            name => order.names.push(name.to_owned()),
        }
    }
    ensure!(!order.profile.contains(['/', '.']), "{} is no name of a profile", order.profile);
    if order.names.is_empty() {
        order.names = ["agent", "hub"].map(str::to_owned).into();
    }
    Ok(order)
}

fn write(recipe: &Recipe, order: &Order) -> Result<()> {
    let layer = Layer::pack(&recipe.files()?, order.quick)?;
    let (packed, unpacked) = (layer.packed.len(), layer.unpacked);
    let image = Image::new(recipe, layer);
    let path = order.out.join(format!("taffrail-{}.tar", recipe.name));
    fs::write(&path, image.archive()?).with_context(|| format!("write {}", path.display()))?;
    #[expect(clippy::cast_precision_loss, reason = "sizes are shown with one digit")]
    let megabytes = |bytes: usize| bytes as f64 / MEGABYTE;
    eprintln!(
        "image: {} is {:.1} MB compressed, {:.1} MB unpacked: {}",
        recipe.reference(),
        megabytes(packed),
        megabytes(unpacked),
        path.display()
    );
    Ok(())
}
