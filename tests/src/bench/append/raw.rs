//! Bare RocksDB: the same rows, one synced `WriteBatch` per request, one thread per writer, its own group commit.

use super::super::sender::events;
use anyhow::Result;
use rocksdb::{DB, DBCompressionType, Options, WriteBatch, WriteOptions};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use taffrail_testkit::sender::Sender;

/// Index rows of one event: cluster, app, commit, actor, kind.
const INDEX_ROWS: usize = 5;

/// Bytes of an index row's text, about as long as ours are in the middle.
const INDEX_TEXT: usize = 24;

/// What stands in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// The events alone.
    Events,
    /// The events and five index rows each.
    Indexed,
}

/// A database with the library's defaults and one column family for each kind of row.
pub(super) struct Raw {
    db: DB,
    next: AtomicU64,
}

impl Raw {
    pub(super) fn open(folder: &Path) -> Result<Raw> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_compression_type(DBCompressionType::Lz4);
        Ok(Raw { db: DB::open_cf(&options, folder, ["index"])?, next: AtomicU64::new(1) })
    }

    /// Events per second of so many threads, each with so many batches, one after the other.
    pub(super) fn trial(&self, writers: usize, batch: usize, requests: usize, rows: Rows) -> Result<f64> {
        let events = events(&mut Sender::new(0), batch)?;
        let values: Vec<Vec<u8>> =
            events.iter().map(|(header, payload)| [&header[..], &payload[..]].concat()).collect();
        let (barrier, mut start) = (Barrier::new(writers + 1), Instant::now());
        std::thread::scope(|scope| {
            let write = || {
                let mut options = WriteOptions::default();
                options.set_sync(true);
                barrier.wait();
                (0..requests).try_for_each(|_| self.db.write_opt(self.batch(&values, rows), &options))
            };
            let threads: Vec<_> = (0..writers).map(|_| scope.spawn(write)).collect();
            barrier.wait();
            start = Instant::now();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(written) => written.map_err(anyhow::Error::from),
                Err(_) => anyhow::bail!("a writer panicked"),
            })
        })?;
        let events = f64::from(u32::try_from(writers * batch * requests)?);
        Ok(events / start.elapsed().as_secs_f64())
    }

    fn batch(&self, values: &[Vec<u8>], rows: Rows) -> WriteBatch {
        let mut batch = WriteBatch::default();
        let table = self.db.cf_handle("index").expect("opened with it");
        for value in values {
            let index = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            batch.put(index, value);
            for list in 0..INDEX_ROWS * usize::from(rows == Rows::Indexed) {
                let text = [u8::try_from(list).unwrap_or(0); INDEX_TEXT];
                batch.put_cf(&table, [&text[..], &index[..]].concat(), []);
            }
        }
        batch
    }
}
