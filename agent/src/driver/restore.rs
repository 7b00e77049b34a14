//! The instances that a journal holds.

use crate::journal::{Snapshot, Write};
use bytes::Bytes;
use std::collections::BTreeMap;
use taffrail_core::id::AppId;
use taffrail_core::node::agent::Stored;
use taffrail_proto::error::Error;
use taffrail_proto::journal as encoding;

/// The instances of the journal, and what has to be written so that each of their objects has its own row.
///
/// # Errors
/// A row that cannot be read.
pub fn stored(snapshot: &Snapshot) -> Result<(BTreeMap<AppId, Stored>, Vec<Write>), Error> {
    let mut writes = Vec::new();
    let read = |(app, bytes): (&String, &Bytes)| {
        let mut stored = encoding::decode(bytes)?;
        for (key, item) in &stored.items {
            let (name, bytes) = (encoding::name_of(key), encoding::encode_item(key, item).into());
            writes.push(Write::PutItem { app: app.clone(), name, bytes });
        }
        for bytes in snapshot.items.get(app).into_iter().flat_map(BTreeMap::values) {
            let (key, item) = encoding::decode_item(bytes)?;
            stored.items.insert(key, item);
        }
        Ok((AppId::parse(app)?, stored))
    };
    let instances = snapshot.instances.iter().map(read).collect::<Result<_, Error>>()?;
    Ok((instances, writes))
}
