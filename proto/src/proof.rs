//! What an agent shows of the hub's own earlier words: the signed index in force and the last signed receipt.
//!
//! The statement around them is signed by the agent's event key, what is in it by the hub's key: neither can be made up by
//! whoever carries it, and an agent cannot make up what the hub never said.

use crate::error::{Error as Malformed, decode, digest};
use crate::event::parts::{mark, read_mark};
use crate::index;
use crate::sign::{self, Domain, Signs, Verifies};
use crate::v1;
use prost::Message;
use taffrail_core::cluster::{Chain, Number, Proof};
use taffrail_core::desired::Mark;
use taffrail_core::id::AccountKey;

/// Why a proof is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its bytes are not a proof.
    #[error("read the proof")]
    Malformed(#[from] Malformed),
    /// The statement is not the cluster's, or a receipt in it not the hub's.
    #[error("verify the proof")]
    Signature(#[from] sign::Error),
    /// The index in it is not one that the hub signed for the cluster.
    #[error("verify the index of the proof")]
    Index(#[from] index::Error),
    /// It is of another cluster.
    #[error("read the proof: it names account {0}")]
    OtherAccount(String),
}

/// What an agent has to show.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Mark of the index that waits for the adoption; zero if none does.
    pub pending: Mark,
    /// The signed index in force.
    pub index: Option<Vec<u8>>,
    /// The last receipt, as [`signed_receipt`] found it.
    pub receipt: Option<Vec<u8>>,
    /// The last event that was dropped because of a receipt.
    pub chain: Chain,
}

/// The signed receipt in an answer of the hub, to be shown later; `None` if the answer is none.
pub fn signed_receipt(answer: &[u8]) -> Option<Vec<u8>> {
    match v1::EventsReply::decode(answer).ok()?.outcome? {
        v1::events_reply::Outcome::Receipt(signed) => Some(signed.encode_to_vec()),
        _ => None,
    }
}

/// Puts a proof into a request, signed.
pub(crate) fn put(request: &mut v1::EventsRequest, account: &AccountKey, shown: &Shown, key: &impl Signs) {
    let statement = v1::Proof {
        account: account.to_string(),
        pending: Some(mark(shown.pending)),
        index: shown.index.clone().unwrap_or_default(),
        receipt: shown.receipt.clone().unwrap_or_default(),
        incarnation: shown.chain.incarnation,
        seq: shown.chain.seq,
        hash: shown.chain.hash.0.to_vec(),
    }
    .encode_to_vec();
    request.proof_signature = key.sign(Domain::Proof, &statement).0.to_vec();
    request.proof = statement;
}

/// The statement of a request, if it carries one that the cluster signed; what is in it is not verified yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Stated(v1::Proof);

pub(crate) fn take(
    request: &mut v1::EventsRequest,
    account: &AccountKey,
    key: &impl Verifies,
) -> Result<Option<Stated>, Error> {
    let bytes = std::mem::take(&mut request.proof);
    if bytes.is_empty() {
        return Ok(None);
    }
    key.verify(Domain::Proof, &bytes, &request.proof_signature)?;
    let stated: v1::Proof = decode("Proof", &bytes)?;
    if stated.account != account.as_str() {
        return Err(Error::OtherAccount(stated.account));
    }
    Ok(Some(Stated(stated)))
}

impl Stated {
    /// Verifies what is in it with the hub's own key.
    ///
    /// # Errors
    /// [`Error`] with the reason: then it shows nothing.
    pub fn verify(self, hub: &impl Verifies, account: &AccountKey) -> Result<Proof, Error> {
        let Stated(v1::Proof { pending, index, receipt, incarnation, seq, hash, .. }) = self;
        let index = if index.is_empty() { None } else { Some(index::verify(index, hub, account)?.index) };
        let receipt = if receipt.is_empty() { None } else { Some(read_receipt(&receipt, hub, account)?) };
        let chain = Chain { incarnation, seq, hash: digest("Proof", "hash", &hash)? };
        Ok(Proof { pending: read_mark(pending), index, receipt, chain })
    }
}

fn read_receipt(bytes: &[u8], hub: &impl Verifies, account: &AccountKey) -> Result<Number, Error> {
    let signed: v1::SignedReceipt = decode("SignedReceipt", bytes)?;
    hub.verify(Domain::Receipt, &signed.receipt, &signed.signature)?;
    let receipt: v1::Receipt = decode("Receipt", &signed.receipt)?;
    if receipt.account != account.as_str() {
        return Err(Error::OtherAccount(receipt.account));
    }
    Ok(Number { incarnation: receipt.incarnation, seq: receipt.seq })
}
