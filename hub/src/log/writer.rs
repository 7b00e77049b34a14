//! The one thread that writes: takes all that is queued, one `WriteBatch`, one fsync, then the tickets.

use super::queue::{Job, Queue};
use super::rocks::{OnFatal, Tables};
use super::{Error, keys};
use rocksdb::{DB, WriteBatch, WriteOptions};
use std::sync::Arc;
use tokio::sync::watch;

/// What the writer thread works with.
pub(super) struct Writer {
    pub(super) db: Arc<DB>,
    pub(super) queue: Arc<Queue>,
    pub(super) durable: watch::Sender<u64>,
    pub(super) on_fatal: OnFatal,
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
    pub(super) fn run(self) {
        let Writer { db, queue, durable, on_fatal } = self;
        let mut alarm = Alarm { queue: Arc::clone(&queue), on_fatal, reason: Some(Error::Stopped) };
        let mut options = WriteOptions::default();
        options.set_sync(true);
        while let Some(jobs) = queue.take() {
            let batch = encode(&db, &jobs);
            if let Err(source) = db.write_opt(batch, &options) {
                let error = Error::Write { source };
                alarm.reason = Some(error.clone());
                queue.stop();
                for job in jobs {
                    fail(job, &error);
                }
                return;
            }
            for job in jobs {
                settle(job, &durable);
            }
        }
        alarm.reason = None;
    }
}

fn encode(db: &DB, jobs: &[Job]) -> WriteBatch {
    let tables = Tables::of(db);
    let mut batch = WriteBatch::default();
    for job in jobs {
        match job {
            Job::Append { first, records, .. } => {
                for (index, record) in (*first..).zip(records) {
                    let row = keys::encode_row(record.appended_at, &record.header, &record.payload);
                    batch.put_cf(&tables.events, keys::event(index), row);
                    keys::rows_of(&record.keys, index, |key| batch.put_cf(&tables.index, key, []));
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
