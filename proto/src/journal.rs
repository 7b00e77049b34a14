//! An instance as an agent's journal keeps it.

use crate::error::{Error, decode as message, digest, field};
use crate::event::agent::{read_status, status};
use crate::event::parts::{key, mark, read_key, read_mark};
use crate::event::{Decoded, Place, decode as decode_event, decode_header, encode_agent};
use crate::v1;
use bytes::Bytes;
use prost::Message;
use taffrail_core::digest::Digest;
use taffrail_core::id::{AccountKey, CommitId};
use taffrail_core::node::agent::Stored;
use taffrail_core::object::Key;
use taffrail_core::outbox::Fold;
use taffrail_core::sync::{Instance, Item};
use taffrail_core::time::At;

/// The durable part of an instance as bytes, without its inventory, which has a row for each object.
pub fn encode(instance: &Instance) -> Vec<u8> {
    v1::JournalInstance {
        items: Vec::new(),
        applied_since: instance.applied.map(|(since, _)| mark(since)),
        applied: instance.applied.map(|(_, digest)| digest.0.to_vec()).unwrap_or_default(),
        stated: instance.stated.as_ref().map(status),
    }
    .encode_to_vec()
}

/// One object of an inventory as bytes.
pub fn encode_item(of: &Key, item: &Item) -> Vec<u8> {
    v1::JournalItem {
        key: Some(key(of)),
        version: item.version.clone(),
        content: item.content.0.to_vec(),
        commit: item.commit.to_string(),
        uid: item.uid.clone(),
        owned: item.owned,
        keep: item.keep,
        written: item.written,
    }
    .encode_to_vec()
}

/// Name of the row of an object, unlike that of any other.
pub fn name_of(of: &Key) -> String {
    [&*of.group, &of.kind, &of.namespace, &of.name].join("\0")
}

/// Reads what [`encode_item`] wrote.
///
/// # Errors
/// [`Error`] with the field that is wrong.
pub fn decode_item(bytes: &[u8]) -> Result<(Key, Item), Error> {
    read_item(message("JournalItem", bytes)?)
}

fn read_item(raw: v1::JournalItem) -> Result<(Key, Item), Error> {
    let item = Item {
        version: raw.version,
        content: digest("JournalItem", "content", &raw.content)?,
        commit: CommitId::parse(&raw.commit)?,
        uid: raw.uid,
        owned: raw.owned,
        keep: raw.keep,
        written: raw.written,
    };
    Ok((read_key(raw.key)?, item))
}

/// Reads what [`encode`] wrote. The first version of the journal kept the inventory in here.
///
/// # Errors
/// [`Error`] with the field that is wrong.
pub fn decode(bytes: &[u8]) -> Result<Stored, Error> {
    let raw: v1::JournalInstance = message("JournalInstance", bytes)?;
    let applied = match raw.applied_since {
        Some(since) => Some((read_mark(Some(since)), digest("JournalInstance", "applied", &raw.applied)?)),
        None => None,
    };
    Ok(Stored {
        items: raw.items.into_iter().map(read_item).collect::<Result<_, Error>>()?,
        applied,
        stated: raw.stated.map(read_status).transpose()?,
    })
}

/// A fold of facts as bytes. The event in it has no number yet, so its place is that of none.
pub fn encode_fold(fold: &Fold, account: &AccountKey) -> Vec<u8> {
    let nowhere = Place { account: account.clone(), incarnation: 0, seq: 0, previous: Digest::default() };
    let (header, payload) = encode_agent(&fold.newest, &nowhere);
    let (earlier, since_ms, urgent) = (fold.earlier, fold.since.0, fold.urgent);
    v1::JournalFold { header: header.into(), payload: payload.into(), earlier, since_ms, urgent }
        .encode_to_vec()
}

/// Reads what [`encode_fold`] wrote.
///
/// # Errors
/// [`Error`] with the field that is wrong.
pub fn decode_fold(bytes: &[u8]) -> Result<Fold, Error> {
    let raw: v1::JournalFold = message("JournalFold", bytes)?;
    let header = decode_header(&raw.header)?;
    match decode_event(&header, &raw.payload)? {
        Decoded::Agent(newest) => {
            Ok(Fold { newest, earlier: raw.earlier, since: At(raw.since_ms), urgent: raw.urgent })
        }
        Decoded::Hub(_) | Decoded::Unknown => Err(field("JournalFold", "kind", &header.kind)),
    }
}

/// Events without a receipt that an agent keeps in its cluster at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parked {
    /// Consecutive events, the older incarnation first.
    pub chains: Vec<Chain>,
    /// Incarnation of the journal that ended.
    pub incarnation: u64,
    /// Last number of that journal.
    pub last_seq: u64,
}

/// Consecutive events of one incarnation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The incarnation.
    pub incarnation: u64,
    /// Number of the first event, or of the one that would be.
    pub from: u64,
    /// Headers and payloads.
    pub events: Vec<(Bytes, Bytes)>,
}

/// Parked events as bytes.
pub fn encode_parked(parked: &Parked) -> Vec<u8> {
    let chain = |chain: &Chain| {
        let event = |(header, payload): &(Bytes, Bytes)| v1::ParkedEvent {
            header: header.to_vec(),
            payload: payload.to_vec(),
        };
        let events = chain.events.iter().map(event).collect();
        v1::ParkedChain { incarnation: chain.incarnation, from: chain.from, events }
    };
    let chains = parked.chains.iter().map(chain).collect();
    v1::Parked { chains, incarnation: parked.incarnation, last_seq: parked.last_seq }.encode_to_vec()
}

/// Reads what [`encode_parked`] wrote.
///
/// # Errors
/// [`Error`] if the bytes are no such message.
pub fn decode_parked(bytes: &[u8]) -> Result<Parked, Error> {
    let raw: v1::Parked = message("Parked", bytes)?;
    let chain = |chain: v1::ParkedChain| {
        let events = chain.events.into_iter().map(|event| (event.header.into(), event.payload.into()));
        Chain { incarnation: chain.incarnation, from: chain.from, events: events.collect() }
    };
    let chains = raw.chains.into_iter().map(chain).collect();
    Ok(Parked { chains, incarnation: raw.incarnation, last_seq: raw.last_seq })
}
