//! The log in `RocksDB`: opened with safe settings that are read back, written by one thread, read by anyone.

use super::cursor::Way;
use super::epoch::file_error;
use super::holder::Holder;
use super::queue::{End, Queue};
use super::room::{Disk, Room};
use super::scan;
use super::witness::{self, Keeper, Witness};
use super::writer::{SyncCounts, Writer};
use super::{
    AppendTicket, Blob, BlobTicket, EVENTS_MAX, Error, Filter, Log, Record, Stored, Syncs, Ticket, keys,
    settings,
};
use bytes::Bytes;
use rocksdb::{BoundColumnFamily, DB, Options};
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use taffrail_core::digest::Digest;
use taffrail_core::time::At;
use tokio::sync::watch;

/// Called once, on the writer's thread, when the log has ended by a failure: the process must end.
pub type OnFatal = Box<dyn Fn(&Error) + Send + Sync>;

/// `RocksDB`'s file without which there is no database.
const CURRENT: &str = "CURRENT";

/// The log of record on disk.
pub struct Rocks {
    db: Arc<DB>,
    queue: Arc<Queue>,
    durable: watch::Receiver<u64>,
    room: watch::Receiver<Room>,
    syncs: Arc<SyncCounts>,
    writer: Option<JoinHandle<()>>,
    _holder: Holder,
}

/// Handles of the column families.
pub(super) struct Tables<'a> {
    pub(super) events: Arc<BoundColumnFamily<'a>>,
    pub(super) index: Arc<BoundColumnFamily<'a>>,
    pub(super) blobs: Arc<BoundColumnFamily<'a>>,
    meta: Arc<BoundColumnFamily<'a>>,
}

impl Tables<'_> {
    pub(super) fn of(db: &DB) -> Tables<'_> {
        let handle = |name| db.cf_handle(name).expect("open creates every column family");
        Tables {
            events: handle(settings::EVENTS),
            index: handle(settings::INDEX),
            blobs: handle(settings::BLOBS),
            meta: handle(settings::META),
        }
    }
}

impl Rocks {
    /// Opens the log in a folder of its own, makes it if there is none, and starts the writer. `reserve` bytes of the disk are left
    /// free.
    ///
    /// What the last process wrote with a resolved ticket is there; batches that were under way are there whole or not at all.
    ///
    /// # Errors
    /// [`Error::InUse`] if a process has it open, [`Error::OtherLibrary`] and [`Error::Unsafe`] if it would not be safe to write,
    /// [`Error::OtherLayout`] if a newer program wrote it, [`Error::Lost`] and [`Error::OtherHistory`] if it is not what was durable
    /// before, else [`Error::Open`], [`Error::File`], [`Error::BadWitness`], [`Error::Read`].
    pub fn open(folder: &Path, reserve: u64, on_fatal: OnFatal) -> Result<Rocks, Error> {
        Rocks::open_with(folder, &settings::database(), reserve, on_fatal)
    }

    fn open_with(folder: &Path, options: &Options, reserve: u64, on_fatal: OnFatal) -> Result<Rocks, Error> {
        let holder = prepare(folder)?;
        let path = witness::path_of(folder);
        let witnessed = witness::read(&path)?;
        if let Some(witnessed) = &witnessed {
            check_witnessed(folder, &path, witnessed)?;
        }
        let witness = Keeper::new(path, witnessed.map_or(0, |said| said.index));
        Rocks::begin(folder, options, reserve, on_fatal, (holder, witness))
    }

    /// Opens a log that an operator put there, out of a backup, and believes it whatever the witness says: from here on the
    /// witness follows this log. What the witness had to say against it is returned.
    ///
    /// # Errors
    /// [`Error::NoLog`] if there is none; else as [`Rocks::open`], without what the witness says.
    pub fn open_restored(
        folder: &Path,
        reserve: u64,
        on_fatal: OnFatal,
    ) -> Result<(Rocks, Option<Error>), Error> {
        let holder = prepare(folder)?;
        if !folder.join(CURRENT).exists() {
            return Err(Error::NoLog { path: folder.to_path_buf() });
        }
        let path = witness::path_of(folder);
        let compared = match witness::read(&path) {
            Ok(None) => Ok(()),
            Ok(Some(witnessed)) => check_witnessed(folder, &path, &witnessed),
            Err(error) => Err(error),
        };
        let against = match compared {
            Ok(()) => None,
            Err(error @ (Error::Lost { .. } | Error::OtherHistory { .. } | Error::BadWitness { .. })) => {
                Some(error)
            }
            Err(error) => return Err(error),
        };
        let begun = (holder, Keeper::new(path, 0));
        Ok((Rocks::begin(folder, &settings::database(), reserve, on_fatal, begun)?, against))
    }

    fn begin(
        folder: &Path,
        options: &Options,
        reserve: u64,
        on_fatal: OnFatal,
        (holder, witness): (Holder, Keeper),
    ) -> Result<Rocks, Error> {
        let db = DB::open_cf_descriptors(options, folder, settings::column_families())
            .map_err(|source| Error::Open { path: folder.to_path_buf(), source })?;
        settings::check_in_force(folder)?;
        check_layout(&db, folder)?;
        let end = read_end(&db)?;
        let db = Arc::new(db);
        let queue = Arc::new(Queue::new(end));
        let (sender, durable) = watch::channel(end.next - 1);
        let disk = Disk::new(folder, reserve)?;
        let (telling, room) = watch::channel(disk.look(Room::Enough)?);
        let syncs = Arc::<SyncCounts>::default();
        let writer = Writer {
            db: Arc::clone(&db),
            disk,
            queue: Arc::clone(&queue),
            durable: sender,
            room: telling,
            witness,
            syncs: Arc::clone(&syncs),
        };
        let writer = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run(on_fatal))
            .map_err(|source| file_error("start the writer of", folder, source))?;
        Ok(Rocks { db, queue, durable, room, syncs, writer: Some(writer), _holder: holder })
    }

    /// The indexes that a filter leaves by time and position.
    fn range_of(&self, filter: &Filter) -> Result<RangeInclusive<u64>, Error> {
        let mut first = filter.after.map_or(1, |after| after.saturating_add(1));
        let mut last = *self.durable.borrow();
        if let Some(before) = filter.before {
            last = last.min(before.saturating_sub(1));
        }
        if let Some(to) = filter.to {
            last = last.min(self.at_time(to)?);
        }
        if let Some(from) = filter.from.and_then(|from| from.0.checked_sub(1)) {
            first = first.max(self.at_time(At(from))? + 1);
        }
        Ok(first..=last)
    }

    fn time_of(&self, index: u64) -> Result<At, Error> {
        let row = self.db.get_pinned_cf(&Tables::of(&self.db).events, keys::event(index));
        let row = row.map_err(|source| Error::Read { source })?;
        keys::row_at(index, &row.ok_or(Error::Damaged { index, what: "the event is missing" })?)
    }
}

impl Drop for Rocks {
    /// Writes what is queued and waits for it.
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            // A panic of the writer was told through `on_fatal` already.
            let _ = writer.join();
        }
    }
}

impl Log for Rocks {
    fn append(&self, first: u64, batch: Vec<Record>) -> AppendTicket {
        let (promise, ticket) = Ticket::new();
        self.queue.append(first, batch, promise);
        ticket
    }

    fn next_index(&self) -> u64 {
        self.queue.end().next
    }

    fn last_at(&self) -> At {
        self.queue.end().last_at
    }

    fn durable(&self) -> watch::Receiver<u64> {
        self.durable.clone()
    }

    fn syncs(&self) -> Syncs {
        self.syncs.read()
    }

    fn room(&self) -> watch::Receiver<Room> {
        self.room.clone()
    }

    fn read(&self, from: u64, limit: u32) -> Result<Vec<Stored>, Error> {
        let range = from.max(1)..=*self.durable.borrow();
        scan::walk(&self.db, &range, Way::Up, limit.min(EVENTS_MAX) as usize)
    }

    fn query(&self, filter: &Filter) -> Result<Vec<Stored>, Error> {
        let limit = filter.limit.min(EVENTS_MAX) as usize;
        let range = self.range_of(filter)?;
        match scan::find(&self.db, filter, &range, limit)? {
            Some(indexes) => scan::fetch(&self.db, &indexes),
            None if filter.newest_first => scan::walk(&self.db, &range, Way::Down, limit),
            None => scan::walk(&self.db, &range, Way::Up, limit),
        }
    }

    fn at_time(&self, at: At) -> Result<u64, Error> {
        let (mut known, mut beyond) = (0, *self.durable.borrow() + 1);
        while known + 1 < beyond {
            let middle = known.midpoint(beyond);
            if self.time_of(middle)? <= at {
                known = middle;
            } else {
                beyond = middle;
            }
        }
        Ok(known)
    }

    fn put_blob(&self, digest: Digest, bytes: Bytes) -> BlobTicket {
        if let Room::Short { free, reserve } = *self.room.borrow() {
            return Ticket::refused(Error::Full { free, reserve });
        }
        let (promise, ticket) = Ticket::new();
        self.queue.blob(digest, Some(bytes), promise);
        ticket
    }

    fn remove_blob(&self, digest: Digest) -> BlobTicket {
        let (promise, ticket) = Ticket::new();
        self.queue.blob(digest, None, promise);
        ticket
    }

    fn get_blob(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let bytes = self.db.get_cf(&Tables::of(&self.db).blobs, digest.0);
        Ok(bytes.map_err(|source| Error::Read { source })?.map(Bytes::from))
    }

    fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let row = self.db.get_pinned_cf(&Tables::of(&self.db).index, keys::blob(&digest.0));
        Ok(row.map_err(|source| Error::Read { source })?.is_some())
    }

    fn list_blobs(&self) -> Result<Vec<Blob>, Error> {
        scan::blobs(&self.db)
    }
}

/// Makes the folder of a log if there is none, and takes it for this process.
fn prepare(folder: &Path) -> Result<Holder, Error> {
    fs::create_dir_all(folder)
        .map_err(|source| file_error("create the folder of the log", folder, source))?;
    Holder::take(folder)
}

/// Compares the log with what was durable, and changes nothing: opening for writing would cut off what cannot be read.
fn check_witnessed(folder: &Path, path: &Path, said: &Witness) -> Result<(), Error> {
    let (found, witness) = (folder.to_path_buf(), path.to_path_buf());
    if !folder.join(CURRENT).exists() {
        return Err(Error::Lost { path: found, witness, last: 0, witnessed: said.index });
    }
    let db =
        DB::open_cf_descriptors_read_only(&settings::database(), folder, settings::column_families(), false)
            .map_err(|source| Error::Open { path: found.clone(), source })?;
    let last = read_end(&db)?.next - 1;
    if last < said.index {
        return Err(Error::Lost { path: found, witness, last, witnessed: said.index });
    }
    let row = db.get_pinned_cf(&Tables::of(&db).events, keys::event(said.index));
    let row = row.map_err(|source| Error::Read { source })?;
    if row.is_none_or(|row| witness::digest(&row) != said.row) {
        return Err(Error::OtherHistory { path: found, witness, index: said.index });
    }
    Ok(())
}

/// Marks a log with the layout that it goes on in, and refuses one that this program would misread.
fn check_layout(db: &DB, folder: &Path) -> Result<(), Error> {
    let meta = Tables::of(db).meta;
    let found = db.get_cf(&meta, keys::LAYOUT_KEY).map_err(|source| Error::Read { source })?;
    let found = found.map(|found| found.try_into().map_or(u32::MAX, u32::from_be_bytes));
    match found {
        Some(keys::LAYOUT) => Ok(()),
        None | Some(keys::LAYOUT_MIN..keys::LAYOUT) => {
            let mut options = rocksdb::WriteOptions::default();
            options.set_sync(true);
            db.put_cf_opt(&meta, keys::LAYOUT_KEY, keys::LAYOUT.to_be_bytes(), &options)
                .map_err(|source| Error::Write { source })
        }
        Some(found) => Err(Error::OtherLayout { path: folder.to_path_buf(), found, known: keys::LAYOUT }),
    }
}

/// Finds the end of the log by one seek.
fn read_end(db: &DB) -> Result<End, Error> {
    let mut rows = db.raw_iterator_cf(&Tables::of(db).events);
    rows.seek_to_last();
    rows.status().map_err(|source| Error::Read { source })?;
    let Some((key, row)) = rows.item() else {
        return Ok(End { next: 1, last_at: At(0) });
    };
    let damaged = Error::Damaged { index: 0, what: "the key of the last event" };
    let last = keys::index_of(key).filter(|last| *last > 0 && *last < u64::MAX).ok_or(damaged)?;
    Ok(End { next: last + 1, last_at: keys::row_at(last, row)? })
}

#[cfg(test)]
#[path = "rocks_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "fault_tests.rs"]
mod fault_tests;
