//! An instance as an agent's journal keeps it.

use crate::error::{Error, decode as message, digest};
use crate::event::agent::{read_status, status};
use crate::event::parts::{key, mark, read_key, read_mark};
use crate::v1;
use prost::Message;
use taffrail_core::id::CommitId;
use taffrail_core::node::agent::Stored;
use taffrail_core::sync::{Instance, Item};

/// The durable part of an instance as bytes.
pub fn encode(instance: &Instance) -> Vec<u8> {
    let items = instance.items.iter().map(|(of, item)| v1::JournalItem {
        key: Some(key(of)),
        version: item.version.clone(),
        content: item.content.0.to_vec(),
        commit: item.commit.to_string(),
        uid: item.uid.clone(),
        owned: item.owned,
        keep: item.keep,
    });
    v1::JournalInstance {
        items: items.collect(),
        applied_since: instance.applied.map(|(since, _)| mark(since)),
        applied: instance.applied.map(|(_, digest)| digest.0.to_vec()).unwrap_or_default(),
        stated: instance.stated.as_ref().map(status),
    }
    .encode_to_vec()
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// [`Error`] with the field that is wrong.
pub fn decode(bytes: &[u8]) -> Result<Stored, Error> {
    let raw: v1::JournalInstance = message("JournalInstance", bytes)?;
    let items = raw.items.into_iter().map(|item| {
        let of = read_key(item.key)?;
        let item = Item {
            version: item.version,
            content: digest("JournalItem", "content", &item.content)?,
            commit: CommitId::parse(&item.commit)?,
            uid: item.uid,
            owned: item.owned,
            keep: item.keep,
        };
        Ok((of, item))
    });
    let applied = match raw.applied_since {
        Some(since) => Some((read_mark(Some(since)), digest("JournalInstance", "applied", &raw.applied)?)),
        None => None,
    };
    Ok(Stored {
        items: items.collect::<Result<_, Error>>()?,
        applied,
        stated: raw.stated.map(read_status).transpose()?,
    })
}
