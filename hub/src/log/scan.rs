//! Finding events in `RocksDB`: the lists of all wanted keys are walked side by side, and what stands in each is fetched.

use super::cursor::{Cursor, Union, Way, key_of, range_of};
use super::rocks::Tables;
use super::{Blob, Error, Filter, PAGE_BYTES_MAX, PREFIX_MATCHES_MAX, Stored, keys};
use keys::List;
use rocksdb::DB;
use std::ops::RangeInclusive;
use taffrail_core::digest::Digest;

/// Rows fetched at once: enough to share the work on a block, few enough to stop soon at the byte limit.
const FETCH_ROWS: usize = 128;

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
        .map(|lists| Union::of(lists.into_iter().map(|prefix| Cursor::new(db, prefix, way)).collect(), way))
        .collect();
    let mut found = Vec::new();
    let mut target = if way == Way::Up { *range.start() } else { *range.end() };
    while range.contains(&target) && found.len() < limit {
        let Some(index) = meet(&mut unions, target)? else { break };
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
fn meet(unions: &mut [Union<'_>], target: u64) -> Result<Option<u64>, Error> {
    for union in unions {
        match union.seek(target)? {
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
