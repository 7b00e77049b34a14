//! One layer: files in a tar of fixed order, times and owners, compressed.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result};
use tar::{Builder, EntryType, Header};

use super::archive::digest;
use super::recipe::USER;

/// As small as possible for what is pushed and pulled; the seconds that it takes come once.
const LEVEL: i32 = 19;
/// As fast as possible for an image that never leaves this machine.
const LEVEL_QUICK: i32 = 1;

/// A file or a folder of an image.
pub(super) struct File {
    /// Path without a slash in front.
    path: String,
    mode: u32,
    /// `None` for a folder that the image's user owns.
    bytes: Option<Vec<u8>>,
}

impl File {
    pub(super) fn new(path: &str, mode: u32, bytes: Vec<u8>) -> File {
        File { path: path.to_owned(), mode, bytes: Some(bytes) }
    }

    /// A folder that the image's user owns.
    pub(super) fn folder(path: &str) -> File {
        File { path: path.to_owned(), mode: 0o700, bytes: None }
    }
}

/// A layer.
pub(super) struct Layer {
    /// Compressed.
    pub(super) packed: Vec<u8>,
    /// Size of the tar, in bytes.
    pub(super) unpacked: usize,
    /// Digest of the tar.
    pub(super) diff_id: String,
}

impl Layer {
    pub(super) fn pack(files: &[File], quick: bool) -> Result<Layer> {
        let tar = tar_of(files)?;
        let level = if quick { LEVEL_QUICK } else { LEVEL };
        let mut encoder = zstd::Encoder::new(Vec::new(), level).context("begin to compress")?;
        encoder.set_pledged_src_size(Some(tar.len() as u64)).context("say how much there is to compress")?;
        encoder.write_all(&tar).context("compress")?;
        let packed = encoder.finish().context("compress")?;
        Ok(Layer { packed, unpacked: tar.len(), diff_id: digest(&tar) })
    }
}

/// Folders before what is in them, everything by name.
fn tar_of(files: &[File]) -> Result<Vec<u8>> {
    let mut entries: BTreeMap<String, (Header, &[u8])> = BTreeMap::new();
    for file in files {
        for (slash, _) in file.path.match_indices('/') {
            let parent = format!("{}/", &file.path[..slash]);
            entries.entry(parent).or_insert_with(|| (header(EntryType::Directory, 0o755, 0, 0), &[]));
        }
        if let Some(bytes) = &file.bytes {
            let entry = header(EntryType::Regular, file.mode, 0, bytes.len() as u64);
            entries.insert(file.path.clone(), (entry, bytes));
        } else {
            let entry = header(EntryType::Directory, file.mode, USER, 0);
            entries.insert(format!("{}/", file.path), (entry, &[]));
        }
    }
    let mut builder = Builder::new(Vec::new());
    for (path, (mut header, bytes)) in entries {
        builder.append_data(&mut header, &path, bytes).with_context(|| format!("pack {path}"))?;
    }
    builder.into_inner().context("end the layer")
}

fn header(kind: EntryType, mode: u32, owner: u64, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_size(size);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_layer_is_the_same_whatever_the_order_and_says_who_owns_what() {
        let files = || vec![File::folder("var/lib/x"), File::new("usr/bin/x", 0o755, b"program".to_vec())];
        let layer = Layer::pack(&files(), true).unwrap();
        let other = files().into_iter().rev().collect::<Vec<_>>();
        assert_eq!(layer.packed, Layer::pack(&other, true).unwrap().packed);

        let tar = zstd::decode_all(layer.packed.as_slice()).unwrap();
        assert_eq!((tar.len(), digest(&tar)), (layer.unpacked, layer.diff_id));
        let mut archive = tar::Archive::new(tar.as_slice());
        let seen = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let header = entry.header();
            let (mode, owner) = (header.mode().unwrap(), header.uid().unwrap());
            format!("{} {mode:o} {owner} {text}", entry.path().unwrap().display())
        });
        assert_eq!(
            seen.collect::<Vec<_>>(),
            [
                "usr/ 755 0 ",
                "usr/bin/ 755 0 ",
                "usr/bin/x 755 0 program",
                "var/ 755 0 ",
                "var/lib/ 755 0 ",
                "var/lib/x/ 700 65532 ",
            ]
        );
    }
}
