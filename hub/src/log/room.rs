//! Room on the disk: the log takes nothing more before the disk is full, and goes on by itself when there is room again.

use super::Error;
use super::epoch::file_error;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Least reserve in bytes: what may still be written after the log has said that it is short. Two batches in flight (2 MiB each),
/// blobs in the queue (64 MiB), one flush of the write buffers (48 MiB), the room that the next write-ahead log takes at once
/// (53 MiB).
pub const RESERVE_MIN: u64 = 256 << 20;

/// Share of the reserve that must be free on top of it before the log goes on, so that it does not flap: an eighth.
const AGAIN_SHARE: u64 = 8;

/// Whether the log takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is room.
    Enough,
    /// Less is free than is kept in reserve, both in bytes: nothing new is to be decided until there is more.
    Short {
        /// Free for this program.
        free: u64,
        /// Kept in reserve.
        reserve: u64,
    },
}

impl Room {
    /// How it is now, after it was so before.
    fn after(self, free: u64, reserve: u64) -> Room {
        let wanted = match self {
            Room::Enough => reserve,
            Room::Short { .. } => reserve.saturating_add(reserve / AGAIN_SHARE),
        };
        if free < wanted { Room::Short { free, reserve } } else { Room::Enough }
    }
}

/// The disk under a folder.
pub(super) struct Disk {
    folder: File,
    path: PathBuf,
    reserve: u64,
}

impl Disk {
    /// The disk under `path`, of which `reserve` bytes are left free.
    pub(super) fn new(path: &Path, reserve: u64) -> Result<Disk, Error> {
        let folder = File::open(path).map_err(|source| file_error("open", path, source))?;
        Ok(Disk { folder, path: path.to_path_buf(), reserve })
    }

    /// How it is now, after it was `before`.
    pub(super) fn look(&self, before: Room) -> Result<Room, Error> {
        let found = rustix::fs::fstatvfs(&self.folder)
            .map_err(|error| file_error("look for the free space of", &self.path, error.into()))?;
        Ok(before.after(found.f_bavail.saturating_mul(found.f_frsize), self.reserve))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stops_below_the_reserve_and_goes_on_well_above_it() {
        let (mut room, mut seen) = (Room::Enough, Vec::new());
        for free in [900, 800, 799, 800, 899, 900, 800, 0] {
            room = room.after(free, 800);
            seen.push(room == Room::Enough);
        }
        assert_eq!(seen, [true, true, false, false, false, true, true, false]);
    }
}
