//! The witness: a small file beside the database that says how far the log was durable at least.
//!
//! `RocksDB` tracks closed write-ahead logs, but not the live one: if that is lost or cut, the database opens with less and says
//! nothing. The witness is another file, renewed after the fsync at most once a second and when the log is closed. A log that ends
//! before its witness, or holds another event there, is not opened for writing (docs/adr/0025-witness-beside-the-log.md).

use super::Error;
use super::epoch::{file_error, replace};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use taffrail_core::digest::Digest;

/// Longest time by which the witness lags behind the log.
pub(super) const LAG_MAX: Duration = Duration::from_secs(1);

/// Longest content that can be ours: a number of 64 bits, a digest in hex, a space and a line end.
const BYTES_MAX: u64 = 20 + 1 + 64 + 1;

/// What the witness says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Witness {
    /// Log index of an event that was durable.
    pub(super) index: u64,
    /// SHA-256 of its row.
    pub(super) row: Digest,
}

/// Keeps the file up to date.
pub(super) struct Keeper {
    path: PathBuf,
    written: u64,
    last: Instant,
}

/// The witness of the log in `folder`.
pub(super) fn path_of(folder: &Path) -> PathBuf {
    folder.with_extension("witness")
}

/// Digest of a row.
pub(super) fn digest(row: &[u8]) -> Digest {
    taffrail_proto::sign::sha256(row)
}

/// Reads the witness; `None` only if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Witness>, Error> {
    let failed = |source| file_error("read the log's witness from", path, source);
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes);
    let parsed = text.strip_suffix('\n').and_then(|line| {
        let (index, row) = line.split_once(' ')?;
        Some(Witness { index: index.parse().ok()?, row: Digest::parse(row).ok()? })
    });
    parsed.map(Some).ok_or_else(|| Error::BadWitness { path: path.to_path_buf() })
}

impl Keeper {
    /// A keeper of a witness that says `written`.
    pub(super) fn new(path: PathBuf, written: u64) -> Keeper {
        Keeper { path, written, last: Instant::now() }
    }

    /// Whether `durable` is to be witnessed now.
    pub(super) fn is_due(&self, durable: u64) -> bool {
        durable > self.written && self.last.elapsed() >= LAG_MAX
    }

    /// Whether anything is not witnessed yet.
    pub(super) fn is_behind(&self, durable: u64) -> bool {
        durable > self.written
    }

    /// Writes what is durable.
    pub(super) fn write(&mut self, witness: Witness) -> Result<(), Error> {
        self.last = Instant::now();
        replace(&self.path, format!("{} {}\n", witness.index, witness.row).as_bytes())
            .map_err(|source| file_error("write the log's witness to", &self.path, source))?;
        self.written = witness.index;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_comes_back_and_a_broken_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_of(&folder.path().join("log"));
        assert_eq!(read(&path).unwrap(), None);
        let said = Witness { index: u64::MAX, row: digest(b"row") };
        Keeper::new(path.clone(), 0).write(said).unwrap();
        assert_eq!(read(&path).unwrap(), Some(said));
        let whole = std::fs::read_to_string(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(matches!(read(&path), Err(Error::BadWitness { .. })), "cut at {cut}");
        }
    }
}
