//! What is shown to the hub of its own earlier words, and when: it seems to be behind, or has to adopt this cluster.

use super::{RECEIPT, STOPPED, WAITING};
use crate::identity::Member;
use crate::journal::Snapshot;
use bytes::Bytes;
use taffrail_core::cluster::Chain;
use taffrail_core::desired::{Mark, Permit};
use taffrail_core::digest::Digest;
use taffrail_core::node::agent::Held;
use taffrail_core::proof::Reasons;
use taffrail_core::time::At;
use taffrail_proto::event::{Numbered, decode_header};
use taffrail_proto::index;
use taffrail_proto::proof::Shown as Proof;
use taffrail_runtime::telemetry;
use tokio::sync::watch;
use tokio::time::Instant;

/// What the driver has to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Showing {
    /// The signed index in force.
    pub signed: Option<Bytes>,
    /// Mark of the index that waits for the adoption; zero if none does.
    pub pending: Mark,
    /// Number and header hash of the newest event.
    pub head: (u64, Digest),
    /// Counts the reasons to show it.
    pub asked: u64,
    /// Counts the indexes that came: each is a sign that the hub is there and should know what is held.
    pub came: u64,
}

/// What the journal holds beside index and instances.
#[derive(Debug, Default)]
pub struct Resumed {
    /// An index of a restored hub that waits for the adoption.
    pub waiting: Option<Held>,
    /// The epoch in which two indexes of one mark were seen.
    pub stopped: Option<u64>,
    /// The last signed receipt.
    pub receipt: Option<Bytes>,
}

impl Resumed {
    /// Reads it; what does not verify any more is named and left out.
    pub fn read(snapshot: &Snapshot, member: &Member) -> Resumed {
        let setting = |name: &str| snapshot.settings.get(name).filter(|bytes| !bytes.is_empty()).cloned();
        let waiting = setting(WAITING).and_then(|bytes| waiting(&bytes, member));
        let stopped = setting(STOPPED).and_then(|bytes| Some(u64::from_be_bytes(bytes[..].try_into().ok()?)));
        Resumed { waiting, stopped, receipt: setting(RECEIPT) }
    }
}

fn waiting(bytes: &Bytes, member: &Member) -> Option<Held> {
    let verified = index::verify(bytes.to_vec(), &member.hub_key, &member.account)
        .inspect_err(|error| {
            tracing::error!(error = telemetry::chain(error), "waiting index of the journal not usable");
        })
        .ok()?;
    let permit = verified.permit(member.restore_key.as_ref(), &member.hub_key);
    let mark = verified.index.mark;
    (permit == Permit::Restore).then_some(Held {
        mark,
        digest: Some(verified.digest),
        index: Some(verified.index),
    })
}

/// Makes the proof for a request that carries one.
pub struct Prover {
    showing: watch::Receiver<Showing>,
    receipt: Option<Bytes>,
    reasons: Reasons,
    /// From when its time is counted.
    started: Instant,
}

impl Prover {
    /// A prover over what the driver shows, with the last receipt of the journal.
    pub fn new(showing: watch::Receiver<Showing>, receipt: Option<Bytes>) -> Prover {
        Prover { showing, receipt, reasons: Reasons::default(), started: Instant::now() }
    }

    /// Waits until there is something new to show, or a sign of the hub.
    pub(super) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.showing.changed().await
    }

    /// The mark of the index that waits, or zero.
    pub(super) fn pending(&self) -> Mark {
        self.showing.borrow().pending
    }

    /// The proof that the next request carries, if one is due. `rows` follow the event `receipted` in the outbox.
    pub(super) fn due(&mut self, incarnation: u64, receipted: u64, rows: &[Numbered]) -> Option<Proof> {
        let showing = self.showing.borrow_and_update().clone();
        self.reasons.asked(showing.asked);
        if !self.reasons.is_due(showing.pending != Mark::default(), self.now()) {
            return None;
        }
        let hash = match rows.first() {
            Some(row) => decode_header(&row.header).ok()?.place?.previous,
            None if showing.head.0 == receipted => showing.head.1,
            // The driver is about to show a newer one.
            None => return None,
        };
        self.reasons.carried();
        Some(Proof {
            pending: showing.pending,
            index: showing.signed.map(|bytes| bytes.to_vec()),
            receipt: self.receipt.as_ref().map(|bytes| bytes.to_vec()),
            chain: Chain { incarnation, seq: receipted, hash },
        })
    }

    /// The hub has the proof.
    pub(super) fn answered(&mut self) {
        let now = self.now();
        self.reasons.heard(now);
    }

    fn now(&self) -> At {
        At(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The hub says less than it signed.
    pub(super) fn hub_is_behind(&mut self) {
        self.reasons.hub_is_behind();
    }

    /// Keeps a receipt, to be shown later.
    pub(super) fn keep(&mut self, receipt: &Bytes) {
        self.receipt = Some(receipt.clone());
    }
}
