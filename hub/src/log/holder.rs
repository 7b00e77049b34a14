//! Who has the log open: a locked file that names its process.

use super::Error;
use super::epoch::file_error;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;

/// Name of the file in the log's folder.
const HOLDER: &str = "HOLDER";

/// Longest content that is ours.
const BYTES_MAX: u64 = 64;

/// The lock; it ends with its process at the latest.
pub(super) struct Holder {
    locked: File,
}

impl Holder {
    /// Takes the lock of the log in `folder`, before anything of it is opened.
    pub(super) fn take(folder: &Path) -> Result<Holder, Error> {
        let path = folder.join(HOLDER);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(|source| file_error("open", &path, source))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::InUse { path: folder.to_path_buf(), holder: named(&mut file) });
            }
            Err(error) => return Err(file_error("lock", &path, error.into())),
        }
        let text = format!("process {}\n", std::process::id());
        let written = file.set_len(0).and_then(|()| file.write_all(text.as_bytes()));
        written.map_err(|source| file_error("write", &path, source))?;
        Ok(Holder { locked: file })
    }
}

impl Drop for Holder {
    /// Closing the file would not do: a child process that is just being started has it open, too, until it runs its program.
    fn drop(&mut self) {
        if let Err(error) = flock(&self.locked, FlockOperation::Unlock) {
            tracing::warn!(%error, "the log's lock is not released before this process ends");
        }
    }
}

fn named(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(BYTES_MAX).read_to_string(&mut text);
    match text.lines().next().filter(|line| read.is_ok() && !line.is_empty()) {
        Some(line) if line == format!("process {}", std::process::id()) => "this process".to_owned(),
        Some(line) => line.to_owned(),
        None => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_closed_is_free_though_a_child_process_has_its_files_still() {
        let folder = tempfile::tempdir().unwrap();
        let holder = Holder::take(folder.path()).unwrap();
        let of_the_child = holder.locked.try_clone().unwrap();
        assert!(matches!(Holder::take(folder.path()), Err(Error::InUse { .. })));
        drop(holder);
        Holder::take(folder.path()).unwrap();
        drop(of_the_child);
    }
}
