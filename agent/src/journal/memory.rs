//! The journal in memory: the same promises without a disk, for tests and simulations.

use super::{Batch, Error, Journal, Numbered, Outbox, Snapshot, Write, check_bodies, check_length};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use taffrail_core::digest::Digest;

/// A journal in memory; it outlives an agent that is started again with the same one.
#[derive(Debug)]
pub struct Memory(Mutex<State>);

#[derive(Clone, Debug)]
struct State {
    snapshot: Snapshot,
    bundles: BTreeMap<Digest, Vec<Digest>>,
    bodies: BTreeMap<Digest, Bytes>,
    outbox: BTreeMap<u64, Numbered>,
}

impl Memory {
    /// A new journal of this incarnation.
    pub fn new(incarnation: u64) -> Memory {
        let snapshot = Snapshot { incarnation, next_seq: 1, ..Snapshot::default() };
        let (bundles, bodies, outbox) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Memory(Mutex::new(State { snapshot, bundles, bodies, outbox }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, write: Write) -> Result<(), Error> {
        let snapshot = &mut self.snapshot;
        let outbox = Outbox { next_seq: snapshot.next_seq, receipted: snapshot.receipted };
        match write {
            Write::PutIndex { bytes } => {
                check_length("an index", bytes.len())?;
                snapshot.index = Some(bytes);
            }
            Write::PutMark(mark) => snapshot.mark = Some(mark),
            Write::PutBundle { digest, bodies } => {
                check_bodies(&bodies)?;
                self.bundles.insert(digest, bodies.iter().map(|(content, _)| *content).collect());
                self.bodies.extend(bodies);
            }
            Write::RemoveBundle { digest } => {
                self.bundles.remove(&digest);
                let kept: BTreeSet<&Digest> = self.bundles.values().flatten().collect();
                self.bodies.retain(|content, _| kept.contains(content));
            }
            Write::PutInstance { app, bytes } => {
                check_length("an instance", bytes.len())?;
                snapshot.instances.insert(app, bytes);
            }
            Write::PutItem { app, name, bytes } => {
                check_length("an object's state", bytes.len())?;
                snapshot.items.entry(app).or_default().insert(name, bytes);
            }
            Write::RemoveItem { app, name } => {
                if let Some(items) = snapshot.items.get_mut(&app) {
                    items.remove(&name);
                }
                snapshot.items.retain(|_, items| !items.is_empty());
            }
            Write::RemoveInstance { app } => {
                snapshot.instances.remove(&app);
                snapshot.items.remove(&app);
            }
            Write::AppendEvents { rows, last_hash } => {
                snapshot.next_seq = outbox.append(&rows)?.next_seq;
                snapshot.last_hash = last_hash;
                self.outbox.extend(rows.into_iter().map(|row| (row.seq, row)));
            }
            Write::Receipt { seq } => {
                snapshot.receipted = outbox.receipt(seq)?.receipted;
                self.outbox = self.outbox.split_off(&(snapshot.receipted + 1));
            }
            Write::PutSetting { key, bytes } => {
                check_length("a setting", bytes.len())?;
                snapshot.settings.insert(key, bytes);
            }
            Write::RemoveSetting { key } => drop(snapshot.settings.remove(&key)),
        }
        Ok(())
    }
}

#[async_trait]
impl Journal for Memory {
    async fn commit(&self, writes: Vec<Write>) -> Result<(), Error> {
        let mut state = self.lock();
        let mut after = state.clone();
        writes.into_iter().try_for_each(|write| after.write(write))?;
        *state = after;
        Ok(())
    }

    fn load(&self) -> Result<Snapshot, Error> {
        let state = self.lock();
        let bundles = state.bundles.iter().map(|(digest, contents)| (*digest, contents.len())).collect();
        let outbox_bytes = state.outbox.values().map(Numbered::length).sum();
        Ok(Snapshot { bundles, outbox_bytes, ..state.snapshot.clone() })
    }

    fn outbox_from(&self, seq: u64, max_count: u32, max_bytes: u64) -> Result<Vec<Numbered>, Error> {
        let mut batch = Batch::new(max_count, max_bytes);
        for row in self.lock().outbox.range(seq..).map(|(_, row)| row) {
            if !batch.admits(row.header.len() + row.payload.len()) {
                break;
            }
            batch.rows.push(row.clone());
        }
        Ok(batch.rows)
    }

    fn bundle(&self, digest: &Digest) -> Result<Option<Vec<Digest>>, Error> {
        Ok(self.lock().bundles.get(digest).cloned())
    }

    fn body(&self, content: &Digest) -> Result<Option<Bytes>, Error> {
        Ok(self.lock().bodies.get(content).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    super::super::conformance::conformance! { (Memory::new(3), ()) }
}
