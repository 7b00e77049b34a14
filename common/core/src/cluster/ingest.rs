//! Events of an agent: taken in order, without gaps, each once.

use super::state::{Chain, Enrolment, Number};
use crate::desired::{Index, Mark};
use crate::digest::Digest;
use alloc::vec::Vec;

/// One event of an agent as it was transmitted, with what the edge computed of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Sequence number in the header.
    pub seq: u64,
    /// Hash of the previous header, as this header states it.
    pub previous: Digest,
    /// SHA-256 of this header's bytes.
    pub hash: Digest,
    /// The header, byte for byte.
    pub header: Vec<u8>,
    /// The payload, byte for byte; its digest stands in the header and was checked at the edge.
    pub payload: Vec<u8>,
}

/// What an agent says of itself with every request. It decides nothing; it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// The index in force.
    pub held: Mark,
    /// Events that wait in its outbox, those of this request among them.
    pub waiting: u64,
}

/// What an agent shows of the hub's own earlier words, and where its events stand. Every signature was checked at the edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Mark of the index that it keeps and that waits for the adoption; zero if none does.
    pub pending: Mark,
    /// The index in force, as this hub signed it; `None` if it holds none.
    pub index: Option<Index>,
    /// The last event for which it holds a receipt that this hub signed.
    pub receipt: Option<Number>,
    /// The last event that it has dropped because of a receipt, with the hash of its header.
    pub chain: Chain,
}

/// A signed request of an agent; the signature was checked at the edge. Empty batches are heartbeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// What the agent says of itself.
    pub vitals: Vitals,
    /// Incarnation of the agent's journal.
    pub incarnation: u64,
    /// Its events in order.
    pub links: Vec<Link>,
    /// What it shows of the hub's own words, where the hub seems to be behind or has to adopt it.
    pub proof: Option<Proof>,
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// These links are new (possibly none); the chain stands at `chain` once they are durable.
    Accepted {
        /// Where the chain stands.
        chain: Chain,
        /// Position in the batch of the first new link.
        from: usize,
    },
    /// Something is missing before the batch.
    Gap {
        /// Where the chain stands.
        chain: Chain,
    },
    /// The batch does not continue what is recorded: numbers or hashes are used twice, or an incarnation is over.
    Forged {
        /// Why.
        reason: &'static str,
        /// The first number that does not fit.
        seq: u64,
        /// Whether its numbers were used by another before it: its journal is a copy, or older than it was.
        forked: bool,
    },
}

/// Judges a batch against the chain of its cluster.
///
/// Links at or below the recorded number are repeats: they are skipped, because only the head's hash is kept here; a
/// repeat of the head itself must be equal to it. Whoever sent less than the head sees by the receipt that another has used
/// its numbers. A higher incarnation starts a new chain at number 1.
pub fn ingest(enrolment: &Enrolment, batch: &Batch) -> Ingested {
    let known = enrolment.chain;
    let first = batch.links.first().map_or(known.seq + 1, |link| link.seq);
    if batch.incarnation < known.incarnation {
        return Ingested::Forged { reason: "the incarnation is over", seq: first, forked: false };
    }
    let mut chain = if batch.incarnation > known.incarnation {
        Chain { incarnation: batch.incarnation, seq: 0, hash: Digest::default() }
    } else {
        known
    };
    let mut from = batch.links.len();
    let mut last: Option<&Link> = None;
    for (position, link) in batch.links.iter().enumerate() {
        if last.is_some_and(|last| link.seq != last.seq + 1) {
            let reason = "the numbers in the batch are not consecutive";
            return Ingested::Forged { reason, seq: link.seq, forked: false };
        }
        if last.is_some_and(|last| link.previous != last.hash) {
            let reason = "the events in the batch are no chain";
            return Ingested::Forged { reason, seq: link.seq, forked: false };
        }
        last = Some(link);
        if link.seq <= chain.seq {
            if link.seq == chain.seq && link.hash != chain.hash {
                let reason = "another event has this number";
                return Ingested::Forged { reason, seq: link.seq, forked: true };
            }
            continue;
        }
        if link.seq != chain.seq + 1 {
            return Ingested::Gap { chain };
        }
        if link.previous != chain.hash {
            let reason = "the previous hash is another";
            return Ingested::Forged { reason, seq: link.seq, forked: true };
        }
        from = from.min(position);
        chain = Chain { incarnation: chain.incarnation, seq: link.seq, hash: link.hash };
    }
    Ingested::Accepted { chain, from }
}
