//! Layout of the log in `RocksDB`. All numbers are big-endian, so that byte order is number order.
//!
//! | column family | key | value |
//! | --- | --- | --- |
//! | `events` | log index (8) | row format (1), `appended_at` (8), length of header (4), header, payload |
//! | `index` | list (1), text with `00` as `00 01`, end `00 00`, log index (8) | empty, or the distances to the events before it |
//! | `index` | list `BLOBS` (1), digest (32) | length of the blob (8) |
//! | `blobs` | digest (32) | the bytes |
//! | `meta` | `layout` | layout version (4) |
//!
//! One list holds the indexes of all events that share one text of one key, in order; a query walks the lists of all keys it names
//! side by side and fetches only what stands in each, so that rows need no keys and nothing is decoded to decide.
//! Events that are written together and stand in one list share a row: its key ends with the last of them, its value has the
//! distance from each to the one before it, the last first, each as a varint. Layout 1 had a row for each event.
//! Apps are listed as `name/source`: the apps of one name in all sources are one range.
//! Time needs no list: `appended_at` never goes back, so the events themselves are sorted by it.

use super::{EVENT_BYTES_MAX, Error, Keys, Stored};
use bytes::Bytes;
use std::collections::BTreeMap;
use taffrail_core::time::At;

/// Version of this layout; raised with every change that an older program would misread.
pub(super) const LAYOUT: u32 = 2;

/// The oldest layout that this program reads as it is, and goes on with in its own.
pub(super) const LAYOUT_MIN: u32 = 1;

/// Key of the layout version in `meta`.
pub(super) const LAYOUT_KEY: &[u8] = b"layout";

/// First byte of an event row; a new format gets a new number.
const ROW_FORMAT: u8 = 1;

/// Most events of a row of a list: what a query decodes to land in it.
const LIST_ROW_MAX: usize = 512;

/// Bytes of a row in front of the header.
const ROW_PREFIX: usize = 1 + 8 + 4;

/// Longest text that is indexed, in bytes; of longer ones the beginning counts, for the writer as for the reader.
///
/// No valid name is longer (an app with its source has at most 317); a poisoned event must not make huge keys.
const TEXT_BYTES_MAX: usize = 512;

/// What ends a text in a key.
const END: [u8; 2] = [0, 0];

/// The lists of the `index` column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum List {
    Cluster = 1,
    App = 2,
    Commit = 3,
    Actor = 4,
    Kind = 5,
    Blobs = 6,
}

/// Key of an event.
pub(super) fn event(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

/// Key of a blob's row in `index`.
pub(super) fn blob(digest: &[u8; 32]) -> [u8; 33] {
    let mut key = [List::Blobs as u8; 33];
    key[1..].copy_from_slice(digest);
    key
}

/// Beginning of all keys of one list with exactly this text.
pub(super) fn exact(list: List, text: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + text.len() + END.len() + 8);
    put_exact(list, text, &mut key);
    key
}

fn put_exact(list: List, text: &str, key: &mut Vec<u8>) {
    put_beginning(list, text, key);
    key.extend_from_slice(&END);
}

fn put_beginning(list: List, text: &str, key: &mut Vec<u8>) {
    let text = &text.as_bytes()[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    key.push(list as u8);
    for &byte in text {
        key.push(byte);
        if byte == 0 {
            key.push(1);
        }
    }
}

/// Beginning of all keys of one list whose text begins so.
pub(super) fn beginning(list: List, text: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + text.len() + END.len() + 8);
    put_beginning(list, text, &mut key);
    key
}

/// How an app stands in its list: `name/source`.
pub(super) fn app_text(app: &str) -> String {
    match app.split_once('/') {
        Some((source, name)) => format!("{name}/{source}"),
        None => format!("{app}/"),
    }
}

/// Beginning of the list of one app, or of all apps of a name if `app` has no source.
pub(super) fn app_wanted(app: &str) -> (Vec<u8>, bool) {
    if app.contains('/') {
        (exact(List::App, &app_text(app)), true)
    } else {
        (beginning(List::App, &app_text(app)), false)
    }
}

/// Rows of lists under construction: the events of one write, by list.
#[derive(Default)]
pub(super) struct Lists {
    rows: BTreeMap<Vec<u8>, Vec<u64>>,
    /// The list that is looked for: an event of lists that are there allocates nothing.
    wanted: Vec<u8>,
}

impl Lists {
    /// Puts an event into the list of each of its keys. Indexes rise from call to call.
    pub(super) fn add(&mut self, keys: &Keys, index: u64) {
        let app = keys.app.as_deref().map(app_text);
        let texts = [
            (List::Cluster, keys.cluster.as_deref()),
            (List::App, app.as_deref()),
            (List::Commit, keys.commit.as_deref()),
            (List::Actor, keys.actor.as_deref()),
            (List::Kind, Some(keys.kind.as_str())),
        ];
        for (list, text) in texts.into_iter().filter_map(|(list, text)| Some((list, text?))) {
            self.wanted.clear();
            put_exact(list, text, &mut self.wanted);
            match self.rows.get_mut(&self.wanted) {
                Some(indexes) => indexes.push(index),
                None => drop(self.rows.insert(self.wanted.clone(), vec![index])),
            }
        }
    }

    /// Every row: key and value, in the order of keys.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.rows.iter().flat_map(|(list, indexes)| {
            indexes.chunks(LIST_ROW_MAX).map(move |indexes| list_row(list, indexes))
        })
    }
}

fn list_row(list: &[u8], indexes: &[u64]) -> (Vec<u8>, Vec<u8>) {
    let end = indexes.last().expect("a chunk is not empty");
    let mut value = Vec::new();
    for pair in indexes.windows(2).rev() {
        let distance = usize::try_from(pair[1] - pair[0]).expect("events of one write");
        prost::encode_length_delimiter(distance, &mut value).expect("a vector grows");
    }
    ([list, &end.to_be_bytes()].concat(), value)
}

/// The indexes of a row of a list, in order; `None` if it is not one.
pub(super) fn decode_list_row(key: &[u8], mut value: &[u8]) -> Option<Vec<u64>> {
    let mut indexes = vec![index_of(key)?];
    while !value.is_empty() {
        let distance = prost::decode_length_delimiter(&mut value).ok().filter(|distance| *distance > 0)?;
        indexes.push(indexes.last()?.checked_sub(distance as u64)?);
    }
    indexes.reverse();
    Some(indexes)
}

/// The log index at the end of an `index` key.
pub(super) fn index_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.last_chunk::<8>()?))
}

/// Encodes an event row.
pub(super) fn encode_row(appended_at: At, header: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_length = u32::try_from(header.len()).expect("append refuses events above EVENT_BYTES_MAX");
    let mut row = Vec::with_capacity(ROW_PREFIX + header.len() + payload.len());
    row.push(ROW_FORMAT);
    row.extend_from_slice(&appended_at.0.to_be_bytes());
    row.extend_from_slice(&header_length.to_be_bytes());
    row.extend_from_slice(header);
    row.extend_from_slice(payload);
    row
}

/// Decodes an event row.
pub(super) fn decode_row(index: u64, row: &[u8]) -> Result<Stored, Error> {
    let damaged = |what| Error::Damaged { index, what };
    let (at, length) = row_prefix(row).map_err(damaged)?;
    let body = &row[ROW_PREFIX..];
    let split = usize::try_from(length).ok().filter(|&split| split <= body.len().min(EVENT_BYTES_MAX));
    let split = split.ok_or(damaged("the header is longer than the row"))?;
    let body = Bytes::copy_from_slice(body);
    Ok(Stored { index, appended_at: at, header: body.slice(..split), payload: body.slice(split..) })
}

/// The time of an event row.
pub(super) fn row_at(index: u64, row: &[u8]) -> Result<At, Error> {
    row_prefix(row).map(|(at, _)| at).map_err(|what| Error::Damaged { index, what })
}

fn row_prefix(row: &[u8]) -> Result<(At, u32), &'static str> {
    let Some((prefix, _)) = row.split_first_chunk::<ROW_PREFIX>() else {
        return Err("the row is cut off");
    };
    let [format, at @ .., _, _, _, _] = prefix;
    let [.., a, b, c, d] = prefix;
    if *format != ROW_FORMAT {
        return Err("the row has an unknown format, written by a newer version?");
    }
    Ok((At(u64::from_be_bytes(*at)), u32::from_be_bytes([*a, *b, *c, *d])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_of_different_texts_never_overlap() {
        let texts = ["", "a", "ab", "a\0", "a\0\0", "a\0b", "b", "\0", "\u{1}"];
        for one in texts {
            for other in texts.into_iter().filter(|other| *other != one) {
                let mut key = exact(List::Kind, other);
                key.extend_from_slice(&[0; 8]);
                assert!(!key.starts_with(&exact(List::Kind, one)), "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn the_layout_of_an_event_is_what_it_always_was() {
        let keys = Keys {
            cluster: Some("c".into()),
            app: Some("s/a".into()),
            commit: Some("f0".into()),
            actor: Some("x\0".into()),
            kind: "K".into(),
        };
        let mut lists = Lists::default();
        lists.add(&keys, 258);
        let rows: Vec<Vec<u8>> = lists.rows().map(|(key, value)| [key, value].concat()).collect();
        let index = *b"\0\0\0\0\0\0\x01\x02";
        let expected: [&[u8]; 5] =
            [b"\x01c\0\0", b"\x02a/s\0\0", b"\x03f0\0\0", b"\x04x\0\x01\0\0", b"\x05K\0\0"];
        let expected: Vec<Vec<u8>> =
            expected.iter().map(|beginning| [beginning, &index[..]].concat()).collect();
        assert_eq!(rows, expected);
        assert_eq!(
            encode_row(At(3), b"head", b"body"),
            b"\x01\0\0\0\0\0\0\0\x03\0\0\0\x04headbody",
            "rows of older versions must stay readable"
        );
    }

    #[test]
    fn events_that_are_written_together_share_a_row_of_a_list() {
        let keys = Keys { cluster: None, app: None, commit: None, actor: None, kind: "K".into() };
        let mut lists = Lists::default();
        for index in [3, 4, 300] {
            lists.add(&keys, index);
        }
        let rows: Vec<_> = lists.rows().collect();
        let expected = (b"\x05K\0\0\0\0\0\0\0\0\x01\x2c".to_vec(), b"\xa8\x02\x01".to_vec());
        assert_eq!(rows, std::slice::from_ref(&expected));
        assert_eq!(decode_list_row(&expected.0, &expected.1), Some(vec![3, 4, 300]));
        assert_eq!(decode_list_row(&expected.0, b""), Some(vec![300]), "rows of layout 1");
        for damaged in [&b"\0"[..], b"\xa8", b"\xad\x02"] {
            assert_eq!(decode_list_row(&expected.0, damaged), None);
        }
    }

    #[test]
    fn damaged_rows_are_errors() {
        let row = encode_row(At(3), b"head", b"body");
        for cut in 0..ROW_PREFIX + 4 {
            assert!(decode_row(1, &row[..cut]).is_err(), "cut at {cut}");
        }
        let mut other = row;
        other[0] = 9;
        assert!(decode_row(1, &other).is_err());
    }

    proptest! {
        #[test]
        fn a_row_comes_back_as_it_was(
            at in any::<u64>(),
            header in prop::collection::vec(any::<u8>(), 0..64),
            payload in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let stored = decode_row(5, &encode_row(At(at), &header, &payload)).unwrap();
            prop_assert_eq!(stored, Stored { index: 5, appended_at: At(at), header: header.into(), payload: payload.into() });
        }
    }
}
