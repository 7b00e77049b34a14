//! Files that nobody else may read: written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Largest secret file, in bytes: an identity with its JWT is 4 KiB, a certificate chain 16 KiB.
pub const BYTES_MAX: u64 = 256 * 1024;
/// Owner reads and writes, nobody else.
const FILE_MODE: u32 = 0o600;
/// Owner only.
const FOLDER_MODE: u32 = 0o700;

/// Why a secret file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading failed; a file that does not exist is not an error.
    #[error("read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Writing failed; the old content is untouched.
    #[error("write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the file.
    #[error("{} can be read by others (mode {mode:o}): chmod 600 {}", path.display(), path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Makes a folder with mode 0700, and the folders above it, if they are missing.
///
/// # Errors
/// [`Error::Write`] if the operating system refuses.
pub fn make_folder(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(path)
        .map_err(|source| Error::Write { path: path.to_owned(), source })
}

/// Reads a secret file; `None` if there is none.
///
/// # Errors
/// [`Error::Read`] if it cannot be read or exceeds [`BYTES_MAX`], [`Error::Open`] if others may read it.
pub fn read(path: &Path) -> Result<Option<String>, Error> {
    let fail = |source| Error::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let mode = file.metadata().map_err(fail)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Open { path: path.to_owned(), mode });
    }
    bounded(file).map(Some).map_err(fail)
}

/// Reads a file that others may read too, such as a mounted Secret or a certificate.
///
/// # Errors
/// [`Error::Read`] if it is missing, cannot be read or exceeds [`BYTES_MAX`].
pub fn read_given(path: &Path) -> Result<String, Error> {
    File::open(path).and_then(bounded).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn bounded(file: File) -> io::Result<String> {
    let mut text = String::new();
    let read = file.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 256 KiB"));
    }
    Ok(text)
}

/// Replaces a file's content at once, mode 0600, and waits until it is on the disk.
///
/// # Errors
/// [`Error::Write`]; the old content is then untouched.
pub fn write(path: &Path, content: &str) -> Result<(), Error> {
    replace(path, content.as_bytes()).map_err(|source| Error::Write { path: path.to_owned(), source })
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = folder.join(name);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("taffrail-secret-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        make_folder(&path).unwrap();
        path
    }

    #[test]
    fn what_is_written_is_read_and_only_by_its_owner() {
        let folder = folder("written");
        let path = folder.join("key");
        assert_eq!(read(&path).unwrap(), None);
        for text in ["first", "second"] {
            write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap().as_deref(), Some(text));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read(&path), Err(Error::Open { mode: 0o644, .. })));
        assert_eq!(read_given(&path).unwrap(), "second");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn unreadable_is_an_error_and_never_nothing() {
        let folder = folder("unreadable");
        assert!(matches!(read(&folder), Err(Error::Open { .. } | Error::Read { .. })));
        let large = folder.join("large");
        write(&large, &"x".repeat(usize::try_from(BYTES_MAX).unwrap() + 1)).unwrap();
        assert!(matches!(read(&large), Err(Error::Read { .. })));
        assert!(matches!(read_given(&folder.join("missing")), Err(Error::Read { .. })));
        fs::remove_dir_all(folder).unwrap();
    }
}
