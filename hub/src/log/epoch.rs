//! The hub epoch beside the database: a small file that outlives a restored backup of it.

use super::Error;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// Longest content that can be a number of 64 bits and a line end; more is not ours.
const EPOCH_BYTES_MAX: u64 = 32;

/// Reads the epoch; `None` only if there is no such file.
///
/// # Errors
/// [`Error::File`] if it cannot be read, [`Error::BadEpoch`] if it is no number.
pub fn read_epoch(path: &Path) -> Result<Option<u64>, Error> {
    let failed = |source| file_error("read the hub epoch from", path, source);
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(EPOCH_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes);
    match text.trim_end_matches('\n').parse() {
        Ok(epoch) => Ok(Some(epoch)),
        Err(_) => Err(Error::BadEpoch { path: path.to_path_buf(), text: text.into_owned() }),
    }
}

/// Writes the epoch: after this returns, a power cut leaves the new number; during it, the old or the new one.
///
/// # Errors
/// [`Error::File`].
pub fn write_epoch(path: &Path, epoch: u64) -> Result<(), Error> {
    replace(path, format!("{epoch}\n").as_bytes())
        .map_err(|source| file_error("write the hub epoch to", path, source))
}

/// Puts a file in place of another, whole or not at all: written beside, synced, renamed, folder synced.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

pub(super) fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::File { action, path: path.to_path_buf(), source: Arc::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_kept_and_replaced_and_a_missing_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("epoch");
        assert_eq!(read_epoch(&path).unwrap(), None);
        for epoch in [1, 7, u64::MAX] {
            write_epoch(&path, epoch).unwrap();
            assert_eq!(read_epoch(&path).unwrap(), Some(epoch));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn an_epoch_that_cannot_be_read_is_an_error_and_not_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("epoch");
        for text in ["", "seven", "-1", "1 2", "123456789012345678901234567890123456"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(read_epoch(&path), Err(Error::BadEpoch { .. })), "{text:?}");
        }
        assert!(matches!(read_epoch(folder.path()), Err(Error::File { .. })), "a folder");
    }
}
