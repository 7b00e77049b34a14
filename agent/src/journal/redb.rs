//! The journal in one redb file.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `facts` | `format`, `incarnation`, `next_seq`, `receipted`: numbers (8, big-endian); `mark`: two numbers; `last_hash`: 32; `index` | bytes |
//! | `contents` | digest of a bundle (32) | digests of its objects in order (32 each) |
//! | `bodies` | digest of an object (32) | its body |
//! | `instances`, `settings` | name | bytes |
//! | `items` | app, NUL, name | bytes |
//! | `outbox` | number of the event | length of header (4, big-endian), header, payload |

use super::{
    Batch, Error, FORKED, Journal, Mark, Numbered, Opened, Outbox, Snapshot, VALUE_BYTES_MAX, Write,
    check_bodies, check_length,
};
use async_trait::async_trait;
use bytes::Bytes;
use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageError, Table,
    TableDefinition, WriteTransaction,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use taffrail_core::digest::Digest;

type Bytewise = TableDefinition<'static, &'static str, &'static [u8]>;
type ByDigest = TableDefinition<'static, [u8; 32], &'static [u8]>;

const FACTS: Bytewise = TableDefinition::new("facts");
const INSTANCES: Bytewise = TableDefinition::new("instances");
const SETTINGS: Bytewise = TableDefinition::new("settings");
const ITEMS: Bytewise = TableDefinition::new("items");
const CONTENTS: ByDigest = TableDefinition::new("contents");
const BODIES: ByDigest = TableDefinition::new("bodies");
/// Bundles in one piece, as the first layout had them; the bus has them still.
const OLD_BUNDLES: ByDigest = TableDefinition::new("bundles");
const OUTBOX: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox");

const FORMAT: &str = "format";
const INCARNATION: &str = "incarnation";
const NEXT_SEQ: &str = "next_seq";
const RECEIPTED: &str = "receipted";
const LAST_HASH: &str = "last_hash";
const MARK: &str = "mark";
const INDEX: &str = "index";

/// Version of this layout.
const LAYOUT: u64 = 2;

/// The first layout: bundles in one piece, inventories inside `instances` (who reads those finds them there still).
const OLD_LAYOUT: u64 = 1;

/// Memory for pages, in bytes: redb's default of 1 GiB would undo the agent's 30 MB.
const CACHE_BYTES: usize = 1024 * 1024;

/// Damaged journals kept aside; the newest takes the last place when all are taken.
const KEPT_ASIDE_MAX: u32 = 4;

/// The journal on disk.
pub struct Redb {
    db: Arc<Database>,
}

/// Why a file did not become a journal.
enum Refused {
    /// It is damaged: it can be set aside.
    Damaged(String),
    /// It may be fine: leave it alone.
    Failed(Error),
}

impl Redb {
    /// Opens the journal in this file, or makes a new one with `incarnation` if there is none or it is damaged.
    ///
    /// The whole file is checked, so that damage is found here and not in the middle of a delivery.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Open`], [`Error::File`]: then nothing was changed.
    pub fn open(path: &Path, incarnation: u64) -> Result<(Redb, Opened), Error> {
        let found = match fs::metadata(path) {
            Ok(file) => file.len() > 0,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(source) => return Err(file_error("look at the journal", path, source)),
        };
        if !found {
            return Ok((create(path, incarnation)?, Opened::New));
        }
        match open_checked(path) {
            Ok(journal) => Ok((journal, Opened::Found)),
            Err(Refused::Failed(error)) => Err(error),
            Err(Refused::Damaged(reason)) => replace(path, incarnation, reason),
        }
    }

    /// The same for a cluster of which journals up to incarnation `spoken` are known: one that is older is set aside,
    /// because its numbers are over.
    ///
    /// # Errors
    /// As [`Redb::open`], and [`Error::Damaged`].
    pub fn open_newest(path: &Path, spoken: u64, incarnation: u64) -> Result<(Redb, Opened), Error> {
        let (journal, opened) = Redb::open(path, incarnation)?;
        let Snapshot { incarnation: own, settings, .. } = journal.load()?;
        let forked = settings.contains_key(FORKED);
        if opened != Opened::Found || (own >= spoken && !forked) {
            return Ok((journal, opened));
        }
        drop(journal);
        if forked {
            let reason = format!("another agent has spoken with its incarnation {own}");
            return replace(path, incarnation.max(own + 1), reason);
        }
        replace(path, incarnation, format!("it is of incarnation {own}, and {spoken} has spoken since"))
    }

    fn snapshot(&self) -> Result<Snapshot, Error> {
        let reading = self.db.begin_read().map_err(read_error)?;
        let facts = reading.open_table(FACTS).map_err(read_error)?;
        let number = |name| fact(&facts, name)?.map_or(Ok(None), |bytes| be_number(&bytes).map(Some));
        let missing = |what| Error::Damaged { what };
        if number(FORMAT)? != Some(LAYOUT) {
            return Err(missing("it has an unknown format"));
        }
        let mark = fact(&facts, MARK)?.map(|bytes| {
            let (epoch, generation) = bytes.split_at_checked(8).ok_or(missing("the mark is cut off"))?;
            Ok(Mark { epoch: be_number(epoch)?, generation: be_number(generation)? })
        });
        let last_hash = fact(&facts, LAST_HASH)?.ok_or(missing("the head of the chain is missing"))?;
        let (bundles, outbox_bytes) = lengths(&reading)?;
        Ok(Snapshot {
            index: fact(&facts, INDEX)?,
            mark: mark.transpose()?,
            incarnation: number(INCARNATION)?.ok_or(missing("the incarnation is missing"))?,
            bundles,
            instances: entries(&reading, INSTANCES)?,
            items: items(&reading)?,
            settings: entries(&reading, SETTINGS)?,
            next_seq: number(NEXT_SEQ)?.ok_or(missing("the next number is missing"))?,
            last_hash: Digest::from_slice(&last_hash).ok_or(missing("the head of the chain is cut off"))?,
            receipted: number(RECEIPTED)?.ok_or(missing("the last receipt is missing"))?,
            outbox_bytes,
        })
    }
}

/// Sets a journal aside and begins a new one.
fn replace(path: &Path, incarnation: u64, reason: String) -> Result<(Redb, Opened), Error> {
    let aside = aside_of(path);
    fs::rename(path, &aside).map_err(|source| file_error("set aside the journal", path, source))?;
    Ok((create(path, incarnation)?, Opened::Lost { reason }))
}

#[async_trait]
impl Journal for Redb {
    async fn commit(&self, writes: Vec<Write>) -> Result<(), Error> {
        let db = Arc::clone(&self.db);
        let done = tokio::task::spawn_blocking(move || commit(&db, writes)).await;
        done.unwrap_or(Err(Error::Stopped))
    }

    fn load(&self) -> Result<Snapshot, Error> {
        self.snapshot()
    }

    fn outbox_from(&self, seq: u64, max_count: u32, max_bytes: u64) -> Result<Vec<Numbered>, Error> {
        let reading = self.db.begin_read().map_err(read_error)?;
        let outbox = reading.open_table(OUTBOX).map_err(read_error)?;
        let mut batch = Batch::new(max_count, max_bytes);
        for entry in outbox.range(seq..).map_err(read_error)? {
            let (seq, row) = entry.map_err(read_error)?;
            if !batch.admits(row.value().len().saturating_sub(4)) {
                break;
            }
            batch.rows.push(decode_row(seq.value(), row.value())?);
        }
        Ok(batch.rows)
    }

    fn bundle(&self, digest: &Digest) -> Result<Option<Vec<Digest>>, Error> {
        let reading = self.db.begin_read().map_err(read_error)?;
        let contents = reading.open_table(CONTENTS).map_err(read_error)?;
        let found = contents.get(digest.0).map_err(read_error)?;
        found.map(|bytes| digests(bytes.value())).transpose()
    }

    fn body(&self, content: &Digest) -> Result<Option<Bytes>, Error> {
        let reading = self.db.begin_read().map_err(read_error)?;
        let bodies = reading.open_table(BODIES).map_err(read_error)?;
        let bytes = bodies.get(content.0).map_err(read_error)?;
        Ok(bytes.map(|bytes| Bytes::copy_from_slice(bytes.value())))
    }
}

/// Makes the journal beside its place and moves it there when it is whole: a crash in between leaves no half of one.
fn create(path: &Path, incarnation: u64) -> Result<Redb, Error> {
    let beside = path.with_extension("new");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|source| file_error("create the folder", folder, source))?;
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(file_error("remove the unfinished journal", &beside, error));
        }
        _ => {}
    }
    let open_error = |source: redb::Error| Error::Open { path: path.to_path_buf(), source: Box::new(source) };
    let db = builder().create(&beside).map_err(|source| open_error(source.into()))?;
    let writing = db.begin_write().map_err(write_error)?;
    {
        let mut facts = writing.open_table(FACTS).map_err(write_error)?;
        for (name, number) in [(FORMAT, LAYOUT), (INCARNATION, incarnation), (NEXT_SEQ, 1), (RECEIPTED, 0)] {
            put(&mut facts, name, &number.to_be_bytes())?;
        }
        put(&mut facts, LAST_HASH, &Digest::default().0)?;
        for table in [INSTANCES, SETTINGS] {
            writing.open_table(table).map_err(write_error)?;
        }
        writing.open_table(OUTBOX).map_err(write_error)?;
        make_tables(&writing)?;
    }
    writing.commit().map_err(write_error)?;
    fs::rename(&beside, path).map_err(|source| file_error("put in place the journal", path, source))?;
    let folder_synced = File::open(folder).and_then(|folder| folder.sync_all());
    folder_synced.map_err(|source| file_error("sync the folder", folder, source))?;
    Ok(Redb { db: Arc::new(db) })
}

/// Makes the tables that the first layout had not.
fn make_tables(writing: &WriteTransaction) -> Result<(), Error> {
    writing.open_table(ITEMS).map_err(write_error)?;
    writing.open_table(CONTENTS).map_err(write_error)?;
    writing.open_table(BODIES).map_err(write_error)?;
    Ok(())
}

/// Takes a journal of the first layout over, in one transaction.
fn renew(db: &Database) -> Result<(), Error> {
    let reading = db.begin_read().map_err(read_error)?;
    let facts = reading.open_table(FACTS).map_err(read_error)?;
    let layout = fact(&facts, FORMAT)?.map(|bytes| be_number(&bytes)).transpose()?;
    drop((facts, reading));
    if layout != Some(OLD_LAYOUT) {
        return Ok(());
    }
    let writing = db.begin_write().map_err(write_error)?;
    make_tables(&writing)?;
    writing.delete_table(OLD_BUNDLES).map_err(write_error)?;
    {
        let mut facts = writing.open_table(FACTS).map_err(write_error)?;
        put(&mut facts, FORMAT, &LAYOUT.to_be_bytes())?;
    }
    writing.commit().map_err(write_error)
}

/// Opens an existing journal and reads all that a start needs, so that damage is found now.
fn open_checked(path: &Path) -> Result<Redb, Refused> {
    let db = builder().set_check_integrity_on_open(true).open(path).map_err(|error| match error {
        DatabaseError::Storage(StorageError::Corrupted(reason)) => Refused::Damaged(reason),
        DatabaseError::Storage(StorageError::Io(error))
            if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            Refused::Damaged(error.to_string())
        }
        DatabaseError::DatabaseAlreadyOpen => Refused::Failed(Error::InUse { path: path.to_path_buf() }),
        other => Refused::Failed(Error::Open { path: path.to_path_buf(), source: Box::new(other.into()) }),
    })?;
    let journal = Redb { db: Arc::new(db) };
    match renew(&journal.db).and_then(|()| journal.snapshot()) {
        Ok(_) => Ok(journal),
        Err(Error::Damaged { what }) => Err(Refused::Damaged(what.to_owned())),
        Err(Error::Read { source }) => Err(match *source {
            redb::Error::Corrupted(reason) => Refused::Damaged(reason),
            redb::Error::TableDoesNotExist(table) => Refused::Damaged(format!("table {table} is missing")),
            redb::Error::TableTypeMismatch { table, .. } => {
                Refused::Damaged(format!("table {table} has another type"))
            }
            other => Refused::Failed(Error::Read { source: Box::new(other) }),
        }),
        Err(other) => Err(Refused::Failed(other)),
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// The first free place beside the journal, or the last one.
fn aside_of(path: &Path) -> PathBuf {
    let place = |number| path.with_extension(format!("lost-{number}"));
    (1..KEPT_ASIDE_MAX).map(place).find(|place| !place.exists()).unwrap_or_else(|| place(KEPT_ASIDE_MAX))
}

fn commit(db: &Database, writes: Vec<Write>) -> Result<(), Error> {
    let mut writing = db.begin_write().map_err(write_error)?;
    writing.set_durability(redb::Durability::Immediate).map_err(write_error)?;
    for write in writes {
        // A refusal drops the transaction, which takes back what was written in front of it.
        apply(&writing, write)?;
    }
    writing.commit().map_err(write_error)
}

fn apply(writing: &WriteTransaction, write: Write) -> Result<(), Error> {
    let table = |definition| writing.open_table::<&str, &[u8]>(definition).map_err(write_error);
    match write {
        Write::PutIndex { bytes } => {
            check_length("an index", bytes.len())?;
            put(&mut table(FACTS)?, INDEX, &bytes)
        }
        Write::PutMark(Mark { epoch, generation }) => {
            put(&mut table(FACTS)?, MARK, &[epoch.to_be_bytes(), generation.to_be_bytes()].concat())
        }
        Write::PutBundle { digest, bodies } => put_bundle(writing, digest, &bodies),
        Write::RemoveBundle { digest } => remove_bundle(writing, digest),
        Write::PutInstance { app, bytes } => {
            check_length("an instance", bytes.len())?;
            put(&mut table(INSTANCES)?, &app, &bytes)
        }
        Write::PutItem { app, name, bytes } => {
            check_length("an object's state", bytes.len())?;
            put(&mut table(ITEMS)?, &format!("{app}\0{name}"), &bytes)
        }
        Write::RemoveItem { app, name } => {
            let row = format!("{app}\0{name}");
            table(ITEMS)?.remove(row.as_str()).map(drop).map_err(write_error)
        }
        Write::RemoveInstance { app } => {
            table(INSTANCES)?.remove(app.as_str()).map(drop).map_err(write_error)?;
            let (first, end) = (format!("{app}\0"), format!("{app}\u{1}"));
            let mut items = table(ITEMS)?;
            items.retain_in(first.as_str()..end.as_str(), |_, _| false).map_err(write_error)
        }
        Write::AppendEvents { rows, last_hash } => append(writing, &rows, last_hash),
        Write::Receipt { seq } => receipt(writing, seq),
        Write::PutSetting { key, bytes } => {
            check_length("a setting", bytes.len())?;
            put(&mut table(SETTINGS)?, &key, &bytes)
        }
        Write::RemoveSetting { key } => table(SETTINGS)?.remove(key.as_str()).map(drop).map_err(write_error),
    }
}

/// A body that another bundle brought is not written again: most of a new bundle is in the one before.
fn put_bundle(writing: &WriteTransaction, digest: Digest, bodies: &[(Digest, Bytes)]) -> Result<(), Error> {
    check_bodies(bodies)?;
    let list: Vec<u8> = bodies.iter().flat_map(|(content, _)| content.0).collect();
    writing.open_table(CONTENTS).map_err(write_error)?.insert(digest.0, &list[..]).map_err(write_error)?;
    let mut table = writing.open_table(BODIES).map_err(write_error)?;
    for (content, body) in bodies {
        if table.get(content.0).map_err(read_error)?.is_none() {
            table.insert(content.0, &body[..]).map_err(write_error)?;
        }
    }
    Ok(())
}

fn remove_bundle(writing: &WriteTransaction, digest: Digest) -> Result<(), Error> {
    let mut contents = writing.open_table(CONTENTS).map_err(write_error)?;
    let gone = contents.remove(digest.0).map_err(write_error)?;
    let Some(gone) = gone.map(|list| digests(list.value())).transpose()? else { return Ok(()) };
    let mut kept = BTreeSet::new();
    for entry in contents.iter().map_err(read_error)? {
        kept.extend(digests(entry.map_err(read_error)?.1.value())?);
    }
    let mut bodies = writing.open_table(BODIES).map_err(write_error)?;
    for content in gone.into_iter().filter(|content| !kept.contains(content)) {
        bodies.remove(content.0).map_err(write_error)?;
    }
    Ok(())
}

fn digests(list: &[u8]) -> Result<Vec<Digest>, Error> {
    let digest = |part: &[u8]| Digest::from_slice(part);
    let found: Option<Vec<Digest>> = list.chunks(32).map(digest).collect();
    found.ok_or(Error::Damaged { what: "the list of a bundle is cut off" })
}

fn append(writing: &WriteTransaction, rows: &[Numbered], last_hash: Digest) -> Result<(), Error> {
    let mut facts = writing.open_table(FACTS).map_err(write_error)?;
    let after = outbox_of(&facts)?.append(rows)?;
    let mut outbox = writing.open_table(OUTBOX).map_err(write_error)?;
    for row in rows {
        outbox.insert(row.seq, &encode_row(row)[..]).map_err(write_error)?;
    }
    put(&mut facts, NEXT_SEQ, &after.next_seq.to_be_bytes())?;
    put(&mut facts, LAST_HASH, &last_hash.0)
}

fn receipt(writing: &WriteTransaction, seq: u64) -> Result<(), Error> {
    let mut facts = writing.open_table(FACTS).map_err(write_error)?;
    let after = outbox_of(&facts)?.receipt(seq)?;
    let mut outbox = writing.open_table(OUTBOX).map_err(write_error)?;
    outbox.retain_in(..=after.receipted, |_, _| false).map_err(write_error)?;
    put(&mut facts, RECEIPTED, &after.receipted.to_be_bytes())
}

fn outbox_of(facts: &Table<'_, &'static str, &'static [u8]>) -> Result<Outbox, Error> {
    let number = |name| {
        let bytes = fact(facts, name)?.ok_or(Error::Damaged { what: "the outbox has no position" })?;
        be_number(&bytes)
    };
    Ok(Outbox { next_seq: number(NEXT_SEQ)?, receipted: number(RECEIPTED)? })
}

fn put(table: &mut Table<'_, &'static str, &'static [u8]>, name: &str, bytes: &[u8]) -> Result<(), Error> {
    table.insert(name, bytes).map(drop).map_err(write_error)
}

fn fact(facts: &impl ReadableTable<&'static str, &'static [u8]>, name: &str) -> Result<Option<Bytes>, Error> {
    let bytes = facts.get(name).map_err(read_error)?;
    Ok(bytes.map(|bytes| Bytes::copy_from_slice(bytes.value())))
}

fn entries(reading: &ReadTransaction, definition: Bytewise) -> Result<BTreeMap<String, Bytes>, Error> {
    let table = reading.open_table(definition).map_err(read_error)?;
    let mut entries = BTreeMap::new();
    for entry in table.iter().map_err(read_error)? {
        let (name, bytes) = entry.map_err(read_error)?;
        entries.insert(name.value().to_owned(), Bytes::copy_from_slice(bytes.value()));
    }
    Ok(entries)
}

fn items(reading: &ReadTransaction) -> Result<BTreeMap<String, BTreeMap<String, Bytes>>, Error> {
    let mut items: BTreeMap<String, BTreeMap<String, Bytes>> = BTreeMap::new();
    for (row, bytes) in entries(reading, ITEMS)? {
        let (app, name) = row.split_once('\0').ok_or(Error::Damaged { what: "an object has no name" })?;
        items.entry(app.to_owned()).or_default().insert(name.to_owned(), bytes);
    }
    Ok(items)
}

/// Objects of all bundles, and the length of the whole outbox.
fn lengths(reading: &ReadTransaction) -> Result<(BTreeMap<Digest, usize>, u64), Error> {
    let (mut bundles, mut outbox_bytes) = (BTreeMap::new(), 0);
    for entry in reading.open_table(CONTENTS).map_err(read_error)?.iter().map_err(read_error)? {
        let (digest, bytes) = entry.map_err(read_error)?;
        bundles.insert(Digest(digest.value()), bytes.value().len() / 32);
    }
    for entry in reading.open_table(OUTBOX).map_err(read_error)?.iter().map_err(read_error)? {
        let (_, row) = entry.map_err(read_error)?;
        outbox_bytes += row.value().len().saturating_sub(4) as u64;
    }
    Ok((bundles, outbox_bytes))
}

fn encode_row(row: &Numbered) -> Vec<u8> {
    let length = u32::try_from(row.header.len()).expect("append refuses events above VALUE_BYTES_MAX");
    [&length.to_be_bytes()[..], &row.header[..], &row.payload[..]].concat()
}

fn decode_row(seq: u64, row: &[u8]) -> Result<Numbered, Error> {
    let damaged = Error::Damaged { what: "a row of the outbox is cut off" };
    let Some((length, body)) = row.split_first_chunk::<4>() else { return Err(damaged) };
    let split = usize::try_from(u32::from_be_bytes(*length)).ok();
    let Some(split) = split.filter(|split| *split <= body.len().min(VALUE_BYTES_MAX)) else {
        return Err(damaged);
    };
    let body = Bytes::copy_from_slice(body);
    Ok(Numbered { seq, header: body.slice(..split), payload: body.slice(split..) })
}

fn be_number(bytes: &[u8]) -> Result<u64, Error> {
    let bytes = bytes.try_into().map_err(|_| Error::Damaged { what: "a number is cut off" })?;
    Ok(u64::from_be_bytes(bytes))
}

fn read_error(source: impl Into<redb::Error>) -> Error {
    Error::Read { source: Box::new(source.into()) }
}

fn write_error(source: impl Into<redb::Error>) -> Error {
    Error::Write { source: Box::new(source.into()) }
}

fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::File { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
#[path = "redb_tests.rs"]
mod tests;
