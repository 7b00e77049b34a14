//! Disks: what was written, and how much of it a crash leaves.

use crate::random::Random;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use taffrail_core::desired::Index;
use taffrail_core::digest::Digest;
use taffrail_core::outbox::Name;
use taffrail_core::time::At;
use taffrail_proto::event::Numbered;

/// One event as the hub's log stores it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Time of the append.
    pub(crate) at: At,
    /// Its header.
    pub(crate) header: Bytes,
    /// Its body.
    pub(crate) body: Bytes,
}

/// The hub's log and its blobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// Everything that was written, in order.
    pub(crate) records: Vec<Record>,
    /// Where batches end, those that are durable and those that are not.
    pub(crate) ends: Vec<usize>,
    /// So many records survive whatever comes.
    pub(crate) durable: usize,
    /// Bundles by content digest.
    pub(crate) blobs: BTreeMap<Digest, Bytes>,
}

impl Log {
    /// Writes a batch; it is not durable yet.
    pub(crate) fn write(&mut self, batch: Vec<Record>) {
        if !batch.is_empty() {
            self.records.extend(batch);
            self.ends.push(self.records.len());
        }
    }

    /// What a copy holds that was made when the log had so many records. A bundle is in it if the log names it.
    pub(crate) fn go_back(&mut self, length: usize, named: &BTreeSet<Digest>) {
        self.records.truncate(length);
        self.ends.retain(|end| *end <= length);
        self.durable = length;
        self.blobs.retain(|digest, _| named.contains(digest));
    }

    /// The power goes: what is durable stays, and some whole batches after it.
    pub(crate) fn crash(&mut self, random: &mut Random) {
        let open: Vec<usize> = self.ends.iter().copied().filter(|end| *end > self.durable).collect();
        let kept = random.place(open.len() + 1);
        self.durable = if kept == 0 { self.durable } else { open[kept - 1] };
        self.records.truncate(self.durable);
        self.ends.retain(|end| *end <= self.durable);
    }
}

/// One change of a journal.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// The index in force, signed, and what it says.
    Index(Bytes, Box<Index>),
    /// A bundle object by object: the digest of each content, and its body.
    Bundle(Digest, Vec<(Digest, Bytes)>),
    /// Bundles that nothing needs.
    Unneeded(Vec<Digest>),
    /// The state of an instance without its inventory.
    Instance(String, Bytes),
    /// One object of its inventory; none if it ended.
    Item(String, String, Option<Bytes>),
    /// An instance is gone, with its objects.
    Gone(String),
    /// Rows of the outbox and the head of the chain.
    Rows(Vec<Numbered>, Digest),
    /// Facts that wait for room, by name; none where one was told.
    Folds(Vec<(String, Option<Vec<u8>>)>),
    /// What was stated, one by one: nothing of a journal, for the judge alone.
    Stated(Vec<Name>),
    /// Everything up to here has a receipt, and this one says so.
    Receipt(u64, Bytes),
    /// The index of a restored hub that waits for the adoption, signed; none if none does any more.
    Pending(Option<Bytes>),
}

/// An agent's journal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    /// The index in force, signed.
    pub(crate) index: Option<Bytes>,
    /// Bundles by content digest: the objects with their bodies.
    pub(crate) bundles: BTreeMap<Digest, Vec<(Digest, Bytes)>>,
    /// Instances by app.
    pub(crate) instances: BTreeMap<String, Bytes>,
    /// Objects of their inventories by app and name.
    pub(crate) items: BTreeMap<String, BTreeMap<String, Bytes>>,
    /// Number of this journal.
    pub(crate) incarnation: u64,
    /// Number of the next event.
    pub(crate) next_seq: u64,
    /// Head of the chain.
    pub(crate) last_hash: Digest,
    /// The last event with a receipt.
    pub(crate) receipted: u64,
    /// Events without a receipt.
    pub(crate) outbox: BTreeMap<u64, Numbered>,
    /// Facts that wait for room.
    pub(crate) folds: BTreeMap<String, Vec<u8>>,
    /// The last signed receipt.
    pub(crate) receipt: Option<Bytes>,
    /// The index of a restored hub that waits for the adoption, signed.
    pub(crate) pending: Option<Bytes>,
    /// Transactions on their way to the disk, in order.
    pub(crate) waiting: VecDeque<Vec<Write>>,
}

impl Journal {
    /// A new journal.
    pub(crate) fn new(incarnation: u64) -> Journal {
        Journal { incarnation, next_seq: 1, ..Journal::default() }
    }

    /// The body of an object of any bundle that is held.
    pub(crate) fn body(&self, content: Digest) -> Option<&Bytes> {
        let mut bodies = self.bundles.values().flatten();
        bodies.find(|(of, _)| *of == content).map(|(_, body)| body)
    }

    /// The oldest transaction is on the disk.
    pub(crate) fn synced(&mut self) -> Vec<Write> {
        let writes = self.waiting.pop_front().unwrap_or_default();
        for write in &writes {
            self.apply(write);
        }
        writes
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::Index(bytes, _) => self.index = Some(bytes.clone()),
            Write::Bundle(digest, bodies) => drop(self.bundles.insert(*digest, bodies.clone())),
            Write::Unneeded(digests) => digests.iter().for_each(|digest| drop(self.bundles.remove(digest))),
            Write::Instance(app, bytes) => drop(self.instances.insert(app.clone(), bytes.clone())),
            Write::Item(app, name, bytes) => {
                let items = self.items.entry(app.clone()).or_default();
                match bytes {
                    Some(bytes) => drop(items.insert(name.clone(), bytes.clone())),
                    None => drop(items.remove(name)),
                }
            }
            Write::Gone(app) => {
                self.instances.remove(app);
                self.items.remove(app);
            }
            Write::Rows(rows, last_hash) => {
                self.outbox.extend(rows.iter().map(|row| (row.seq, row.clone())));
                self.next_seq += rows.len() as u64;
                self.last_hash = *last_hash;
            }
            Write::Folds(folds) => {
                for (name, fold) in folds {
                    match fold {
                        Some(fold) => drop(self.folds.insert(name.clone(), fold.clone())),
                        None => drop(self.folds.remove(name)),
                    }
                }
            }
            Write::Stated(_) => {}
            Write::Pending(signed) => self.pending.clone_from(signed),
            Write::Receipt(seq, signed) => {
                self.receipt = Some(signed.clone());
                self.receipted = self.receipted.max(*seq);
                self.outbox.retain(|of, _| of > seq);
            }
        }
    }
}
