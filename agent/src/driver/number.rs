//! Numbers and chains events.

use crate::journal::{OutboxRow, Write};
use taffrail_core::digest::Digest;
use taffrail_core::event::AgentEvent;
use taffrail_core::id::{AccountKey, ClusterName};
use taffrail_proto::event::{Place, encode_agent};
use taffrail_proto::sign::sha256;

/// Where the chain of this journal stands.
#[derive(Clone, Debug)]
pub(super) struct Numbering {
    pub(super) account: AccountKey,
    pub(super) cluster: ClusterName,
    pub(super) incarnation: u64,
    pub(super) next_seq: u64,
    pub(super) last_hash: Digest,
}

impl Numbering {
    /// Numbers events on from the last one; `None` if there are none.
    pub(super) fn number(&mut self, events: Vec<AgentEvent>) -> Option<Write> {
        if events.is_empty() {
            return None;
        }
        let rows = events.into_iter().map(|event| self.row(event)).collect();
        Some(Write::AppendEvents { rows, last_hash: self.last_hash })
    }

    fn row(&mut self, mut event: AgentEvent) -> OutboxRow {
        event.context.cluster = Some(self.cluster.clone());
        let (account, incarnation) = (self.account.clone(), self.incarnation);
        let place = Place { account, incarnation, seq: self.next_seq, previous: self.last_hash };
        let (header, payload) = encode_agent(&event, &place);
        self.last_hash = sha256(&header);
        self.next_seq += 1;
        OutboxRow { seq: place.seq, header, payload }
    }
}
