//! Numbers and chains an agent's events, each once.

use super::{Place, encode_agent};
use crate::sign::sha256;
use bytes::Bytes;
use taffrail_core::digest::Digest;
use taffrail_core::event::AgentEvent;
use taffrail_core::id::{AccountKey, ClusterName};

/// Where the chain of a journal stands.
#[derive(Clone, Debug)]
pub struct Numbering {
    /// The agent's account.
    pub account: AccountKey,
    /// Its cluster's name.
    pub cluster: ClusterName,
    /// Incarnation of the journal.
    pub incarnation: u64,
    /// The number that the next event gets.
    pub next_seq: u64,
    /// SHA-256 of the last header; zero before the first.
    pub last_hash: Digest,
}

/// An event with its number, as it is signed and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Its number.
    pub seq: u64,
    /// Its header.
    pub header: Bytes,
    /// Its payload.
    pub payload: Bytes,
}

impl Numbered {
    /// Bytes that it takes in an outbox.
    pub fn length(&self) -> u64 {
        (self.header.len() + self.payload.len()) as u64
    }
}

impl Numbering {
    /// Gives an event the next number.
    pub fn number(&mut self, mut event: AgentEvent) -> Numbered {
        event.context.cluster = Some(self.cluster.clone());
        let (account, incarnation) = (self.account.clone(), self.incarnation);
        let place = Place { account, incarnation, seq: self.next_seq, previous: self.last_hash };
        let (header, payload) = encode_agent(&event, &place);
        self.last_hash = sha256(&header);
        self.next_seq += 1;
        Numbered { seq: place.seq, header, payload }
    }
}
