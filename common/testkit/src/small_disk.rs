//! A file system with little room, for what must survive a full disk.

use std::io;
use std::path::Path;
use std::process::Command;

/// A file system in memory of a size of its own; gone with the value.
#[derive(Debug)]
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// One of so many megabytes; `None` where this process may not mount, which a test says by name.
    ///
    /// # Errors
    /// The folder cannot be made, or mounting fails for another reason.
    pub fn mount(megabytes: u32) -> io::Result<Option<SmallDisk>> {
        let folder = tempfile::tempdir()?;
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        let mounted =
            mount.args(["-t", "tmpfs", "-o", &size, "taffrail-test"]).arg(folder.path()).output()?;
        if !mounted.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&mounted.stderr).into_owned()));
        }
        Ok(Some(SmallDisk(folder)))
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    /// # Panics
    /// It stays mounted.
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the small file system stays mounted");
    }
}
