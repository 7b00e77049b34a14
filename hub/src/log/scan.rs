//! Finding events in `RocksDB`: the lists of all wanted keys are walked side by side, and what stands in each is fetched.

use super::rocks::Tables;
use super::{Blob, Error, Filter, PAGE_BYTES_MAX, PREFIX_MATCHES_MAX, Stored, keys};
use keys::List;
use rocksdb::{DB, DBRawIterator, PrefixRange, ReadOptions};
use std::ops::RangeInclusive;
use taffrail_core::digest::Digest;

/// Steps along a list before a walk seeks instead: a step costs about 2 us, a seek about 18 us.
const STEPS_BEFORE_SEEK: u32 = 8;

/// Rows fetched at once: enough to share the work on a block, few enough to stop soon at the byte limit.
const FETCH_ROWS: usize = 128;

/// Which way a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

impl Way {
    /// Whether a walk that looks for `target` need not go further than `index`.
    fn reached(self, index: u64, target: u64) -> bool {
        match self {
            Way::Up => index >= target,
            Way::Down => index <= target,
        }
    }
}

/// A place in one list.
struct Cursor<'a> {
    rows: DBRawIterator<'a>,
    prefix: Vec<u8>,
    way: Way,
    started: bool,
}

/// Several lists that count as one: an event matches if it stands in any of them.
struct Union<'a>(Vec<Cursor<'a>>);

/// Indexes of the events that stand in a list of each wanted key, inside `range`; `None` if the filter names no key.
pub(super) fn find(
    db: &DB,
    filter: &Filter,
    range: &RangeInclusive<u64>,
    limit: usize,
) -> Result<Option<Vec<u64>>, Error> {
    let way = if filter.newest_first { Way::Down } else { Way::Up };
    let lists = lists_of(db, filter)?;
    if lists.is_empty() {
        return Ok(None);
    }
    let mut unions: Vec<Union<'_>> = lists
        .into_iter()
        .map(|lists| Union(lists.into_iter().map(|prefix| Cursor::new(db, prefix, way)).collect()))
        .collect();
    let mut found = Vec::new();
    let mut target = if way == Way::Up { *range.start() } else { *range.end() };
    while range.contains(&target) && found.len() < limit {
        let Some(index) = meet(&mut unions, target, way)? else { break };
        if index == target {
            found.push(index);
            target = if way == Way::Up { index + 1 } else { index - 1 };
        } else {
            target = index;
        }
    }
    Ok(Some(found))
}

/// `target` if it stands in all unions, else a better target; `None` if a union has nothing left.
fn meet(unions: &mut [Union<'_>], target: u64, way: Way) -> Result<Option<u64>, Error> {
    for union in unions {
        match union.seek(target, way)? {
            Some(found) if found == target => {}
            other => return Ok(other),
        }
    }
    Ok(Some(target))
}

/// For each wanted key, the beginnings of the lists that serve it.
fn lists_of(db: &DB, filter: &Filter) -> Result<Vec<Vec<Vec<u8>>>, Error> {
    let mut lists = Vec::new();
    if let Some(commit) = &filter.commit {
        let beginning = keys::beginning(List::Commit, commit);
        lists.push(expand(db, beginning, commit)?);
    }
    if let Some(app) = &filter.app {
        let (beginning, whole) = keys::app_wanted(app);
        lists.push(if whole { vec![beginning] } else { expand(db, beginning, app)? });
    }
    let exact = [(List::Cluster, &filter.cluster), (List::Actor, &filter.actor), (List::Kind, &filter.kind)];
    for (list, text) in exact {
        lists.extend(text.as_deref().map(|text| vec![keys::exact(list, text)]));
    }
    Ok(lists)
}

/// The lists whose keys begin so: looked up by jumping from list to list.
fn expand(db: &DB, beginning: Vec<u8>, asked: &str) -> Result<Vec<Vec<u8>>, Error> {
    let mut rows = range_of(db, beginning);
    let mut lists = Vec::new();
    rows.seek_to_first();
    while let Some(key) = key_of(&rows)? {
        if lists.len() == PREFIX_MATCHES_MAX {
            return Err(Error::Ambiguous { prefix: asked.to_owned(), max: PREFIX_MATCHES_MAX });
        }
        let list = key[..key.len().saturating_sub(8)].to_vec();
        let behind = [&list[..], &[u8::MAX; 9]].concat();
        lists.push(list);
        rows.seek(behind);
    }
    Ok(lists)
}

fn range_of(db: &DB, prefix: Vec<u8>) -> DBRawIterator<'_> {
    let mut options = ReadOptions::default();
    options.set_iterate_range(PrefixRange(prefix));
    db.raw_iterator_cf_opt(&Tables::of(db).index, options)
}

/// The key under an iterator; `None` at its end, an error if it ended because it could not read.
fn key_of<'rows>(rows: &'rows DBRawIterator<'_>) -> Result<Option<&'rows [u8]>, Error> {
    match rows.key() {
        Some(key) => Ok(Some(key)),
        None => rows.status().map(|()| None).map_err(|source| Error::Read { source }),
    }
}

impl<'a> Cursor<'a> {
    fn new(db: &'a DB, prefix: Vec<u8>, way: Way) -> Cursor<'a> {
        Cursor { rows: range_of(db, prefix.clone()), prefix, way, started: false }
    }

    /// Goes to the first index at or behind `target`. Targets never turn back.
    fn seek(&mut self, target: u64) -> Result<Option<u64>, Error> {
        for _ in 0..STEPS_BEFORE_SEEK {
            if !self.started {
                break;
            }
            match self.index()? {
                Some(index) if !self.way.reached(index, target) => self.step(),
                settled => return Ok(settled),
            }
        }
        let key = [&self.prefix[..], &target.to_be_bytes()].concat();
        match self.way {
            Way::Up => self.rows.seek(key),
            Way::Down => self.rows.seek_for_prev(key),
        }
        self.started = true;
        self.index()
    }

    fn step(&mut self) {
        match self.way {
            Way::Up => self.rows.next(),
            Way::Down => self.rows.prev(),
        }
    }

    fn index(&self) -> Result<Option<u64>, Error> {
        let damaged = Error::Damaged { index: 0, what: "an index key is too short" };
        key_of(&self.rows)?.map(|key| keys::index_of(key).ok_or(damaged)).transpose()
    }
}

impl Union<'_> {
    fn seek(&mut self, target: u64, way: Way) -> Result<Option<u64>, Error> {
        let mut nearest: Option<u64> = None;
        for cursor in &mut self.0 {
            if let Some(index) = cursor.seek(target)? {
                nearest = Some(nearest.map_or(index, |nearest| match way {
                    Way::Up => nearest.min(index),
                    Way::Down => nearest.max(index),
                }));
            }
        }
        Ok(nearest)
    }
}

/// The events at these indexes, in the order given, up to the byte limit of a page.
pub(super) fn fetch(db: &DB, indexes: &[u64]) -> Result<Vec<Stored>, Error> {
    let table = Tables::of(db).events;
    let mut page = Page::default();
    for chunk in indexes.chunks(FETCH_ROWS) {
        let rows: Vec<[u8; 8]> = chunk.iter().map(|&index| keys::event(index)).collect();
        let values = db.batched_multi_get_cf(&table, &rows, chunk.is_sorted());
        for (&index, value) in chunk.iter().zip(values) {
            let row = value.map_err(|source| Error::Read { source })?;
            let row = row.ok_or(Error::Damaged { index, what: "the event is missing" })?;
            if page.push(keys::decode_row(index, &row)?) {
                return Ok(page.events);
            }
        }
    }
    Ok(page.events)
}

/// The events of a range of indexes, one way or the other, up to `limit` and the byte limit of a page.
pub(super) fn walk(
    db: &DB,
    range: &RangeInclusive<u64>,
    way: Way,
    limit: usize,
) -> Result<Vec<Stored>, Error> {
    let mut page = Page::default();
    if range.is_empty() || limit == 0 {
        return Ok(page.events);
    }
    let mut rows = db.raw_iterator_cf(&Tables::of(db).events);
    let mut index = if way == Way::Up { *range.start() } else { *range.end() };
    rows.seek(keys::event(index));
    loop {
        let missing = Error::Damaged { index, what: "the event is missing" };
        if key_of(&rows)? != Some(&keys::event(index)[..]) {
            return Err(missing);
        }
        let full = page.push(keys::decode_row(index, rows.value().ok_or(missing)?)?);
        let last = if way == Way::Up { *range.end() } else { *range.start() };
        if full || page.events.len() == limit || index == last {
            return Ok(page.events);
        }
        match way {
            Way::Up => {
                index += 1;
                rows.next();
            }
            Way::Down => {
                index -= 1;
                rows.prev();
            }
        }
    }
}

/// All blobs, from their rows in `index`: the bytes themselves are not touched.
pub(super) fn blobs(db: &DB) -> Result<Vec<Blob>, Error> {
    let mut rows = range_of(db, vec![List::Blobs as u8]);
    let mut blobs = Vec::new();
    rows.seek_to_first();
    while let Some(key) = key_of(&rows)? {
        let damaged = Error::Damaged { index: 0, what: "the row of a blob" };
        let digest = Digest::from_slice(&key[1..]);
        let bytes = rows.value().and_then(keys::index_of);
        let (Some(digest), Some(bytes)) = (digest, bytes) else { return Err(damaged) };
        blobs.push(Blob { digest, bytes });
        rows.next();
    }
    Ok(blobs)
}

/// Events that are given out together.
#[derive(Default)]
pub(super) struct Page {
    pub(super) events: Vec<Stored>,
    bytes: usize,
}

impl Page {
    /// Takes an event; says whether the page is full by bytes.
    pub(super) fn push(&mut self, event: Stored) -> bool {
        self.bytes += event.header.len() + event.payload.len();
        self.events.push(event);
        self.bytes >= PAGE_BYTES_MAX
    }
}
