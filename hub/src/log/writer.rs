//! The one thread that writes: takes all that is queued, one `WriteBatch`, one fsync, then the tickets.

use super::failpoint::{self, Place};
use super::queue::{Job, Queue, Work};
use super::rocks::{OnFatal, Tables};
use super::room::{Disk, Room};
use super::witness::{self, Keeper, Witness};
use super::{Error, Syncs, keys};
use keys::Lists;
use rocksdb::{DB, WriteBatch, WriteOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Pause between two looks at the disk while nothing is written.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the writer thread works with.
pub(super) struct Writer {
    pub(super) db: Arc<DB>,
    pub(super) disk: Disk,
    pub(super) queue: Arc<Queue>,
    pub(super) durable: watch::Sender<u64>,
    pub(super) room: watch::Sender<Room>,
    pub(super) witness: Keeper,
    pub(super) syncs: Arc<SyncCounts>,
}

/// Counts fsyncs as [`Syncs`] tells them.
#[derive(Default)]
pub(super) struct SyncCounts {
    own: AtomicU64,
    reported: AtomicU64,
}

impl SyncCounts {
    fn count(&self, jobs: &[Job]) {
        let counter = if jobs.iter().any(is_own) { &self.own } else { &self.reported };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Syncs {
        let [own, reported] = [&self.own, &self.reported].map(|counter| counter.load(Ordering::Relaxed));
        Syncs { own, reported }
    }
}

fn is_own(job: &Job) -> bool {
    match job {
        Job::Append { records, .. } => records.iter().any(|record| record.own),
        Job::PutBlob { .. } | Job::RemoveBlob { .. } => true,
    }
}

/// Stops the queue and tells the process when the thread ends otherwise than by closing.
struct Alarm {
    queue: Arc<Queue>,
    on_fatal: OnFatal,
    reason: Option<Error>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.queue.stop();
        if let Some(reason) = &self.reason {
            (self.on_fatal)(reason);
        }
    }
}

impl Writer {
    /// Writes until the queue is closed or a write fails.
    pub(super) fn run(mut self, on_fatal: OnFatal) {
        let queue = Arc::clone(&self.queue);
        let mut alarm = Alarm { queue: Arc::clone(&queue), on_fatal, reason: Some(Error::Stopped) };
        alarm.reason = self.work(&queue).err();
    }

    fn work(&mut self, queue: &Queue) -> Result<(), Error> {
        loop {
            match queue.take(LOOK_EVERY) {
                Work::Group(jobs) => self.group(jobs)?,
                Work::None => {}
                Work::Closed => return self.testify(Keeper::is_behind),
            }
            self.look()?;
            self.testify(Keeper::is_due)?;
        }
    }

    /// Writes a group. One without rows waits only for those in front of it, which are durable by now: it costs no fsync.
    fn group(&mut self, jobs: Vec<Job>) -> Result<(), Error> {
        let batch = encode(&self.db, &jobs);
        if !batch.is_empty() {
            if let Err(source) = self.write(batch) {
                let error = Error::Write { source };
                self.queue.stop();
                for job in jobs {
                    fail(job, &error);
                }
                return Err(error);
            }
            self.syncs.count(&jobs);
        }
        for job in jobs {
            settle(job, &self.durable);
        }
        Ok(())
    }

    fn write(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        let mut options = WriteOptions::default();
        failpoint::pass(Place::BeforeWrite);
        #[cfg(test)]
        if failpoint::is_due(Place::BeforeSync) {
            self.db.write_opt(batch, &options)?;
            std::process::abort();
        }
        options.set_sync(true);
        self.db.write_opt(batch, &options)?;
        failpoint::pass(Place::AfterSync);
        Ok(())
    }

    /// Looks whether there is room for more.
    fn look(&self) -> Result<(), Error> {
        let before = *self.room.borrow();
        let now = self.disk.look(before)?;
        self.room.send_if_modified(|room| {
            *room = now;
            matches!(now, Room::Short { .. }) != matches!(before, Room::Short { .. })
        });
        Ok(())
    }

    /// Renews the witness.
    fn testify(&mut self, is_wanted: impl Fn(&Keeper, u64) -> bool) -> Result<(), Error> {
        let index = *self.durable.borrow();
        if !is_wanted(&self.witness, index) || matches!(*self.room.borrow(), Room::Short { .. }) {
            return Ok(());
        }
        let row = self.db.get_pinned_cf(&Tables::of(&self.db).events, keys::event(index));
        let row = row.map_err(|source| Error::Read { source })?;
        let row = row.ok_or(Error::Damaged { index, what: "the event is missing" })?;
        self.witness.write(Witness { index, row: witness::digest(&row) })
    }
}

fn encode(db: &DB, jobs: &[Job]) -> WriteBatch {
    let tables = Tables::of(db);
    let (mut batch, mut lists) = (WriteBatch::default(), Lists::default());
    for job in jobs {
        match job {
            Job::Append { first, records, .. } => {
                for (index, record) in (*first..).zip(records) {
                    let row = keys::encode_row(record.appended_at, &record.header, &record.payload);
                    batch.put_cf(&tables.events, keys::event(index), row);
                    lists.add(&record.keys, index);
                }
            }
            Job::PutBlob { digest, bytes, .. } => {
                batch.put_cf(&tables.blobs, digest.0, bytes);
                let length = (bytes.len() as u64).to_be_bytes();
                batch.put_cf(&tables.index, keys::blob(&digest.0), length);
            }
            Job::RemoveBlob { digest, .. } => {
                batch.delete_cf(&tables.blobs, digest.0);
                batch.delete_cf(&tables.index, keys::blob(&digest.0));
            }
        }
    }
    lists.rows().for_each(|(key, value)| batch.put_cf(&tables.index, key, value));
    batch
}

fn settle(job: Job, durable: &watch::Sender<u64>) {
    match job {
        Job::Append { first, records, promise } => {
            let last = first + records.len() as u64 - 1;
            durable.send_if_modified(|durable| std::mem::replace(durable, last) != last);
            let _ = promise.send(Ok(last));
        }
        Job::PutBlob { promise, .. } | Job::RemoveBlob { promise, .. } => {
            let _ = promise.send(Ok(()));
        }
    }
}

fn fail(job: Job, error: &Error) {
    match job {
        Job::Append { promise, .. } => drop(promise.send(Err(error.clone()))),
        Job::PutBlob { promise, .. } | Job::RemoveBlob { promise, .. } => {
            drop(promise.send(Err(error.clone())));
        }
    }
}
