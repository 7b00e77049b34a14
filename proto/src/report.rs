//! Events on their way to the hub, and the receipts that come back.

use crate::error::{Error as Malformed, decode};
use crate::event::parts::{mark, read_mark};
use crate::event::{Decoded, Header, decode as decode_event, decode_header};
use crate::sign::{self, Domain, PublicKey, SigningKey, sha256};
use crate::v1;
use bytes::Bytes;
use prost::Message;
use std::sync::Arc;
use taffrail_core::cluster::{Batch, Chain, Link, Vitals};
use taffrail_core::desired::Mark;
use taffrail_core::event::AgentEvent;
use taffrail_core::id::AccountKey;
use taffrail_core::time::At;

/// Most events of one request.
pub const EVENTS_MAX: u32 = 256;

/// Most bytes of headers and payloads of one request, below the broker's limit of 1 MiB with room for the rest.
pub const BYTES_MAX: usize = 768 * 1024;

/// Why a request is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its bytes are not a request.
    #[error("read the request")]
    Malformed(#[from] Malformed),
    /// The signature is not the cluster's.
    #[error("verify the request")]
    Signature(#[from] sign::Error),
    /// It holds more than one request may.
    #[error("read the request: {0} events are more than {EVENTS_MAX}")]
    TooMany(usize),
    /// It names another account than the subject on which it came.
    #[error("read the request: it names account {0}")]
    OtherAccount(String),
    /// A payload is not the one that its header names.
    #[error("read event {0}: the payload's digest is another")]
    OtherPayload(u64),
}

/// What an agent sends.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its account.
    pub account: AccountKey,
    /// Incarnation of its journal.
    pub incarnation: u64,
    /// Its time.
    pub at: At,
    /// What the agent says of itself.
    pub vitals: Vitals,
    /// Encoded headers and payloads, consecutive.
    pub events: Vec<(Bytes, Bytes)>,
}

/// Signs and encodes a request; without events it is a heartbeat.
pub fn encode_request(outgoing: &Outgoing, key: &SigningKey) -> Vec<u8> {
    let heartbeat = v1::Heartbeat {
        account: outgoing.account.to_string(),
        incarnation: outgoing.incarnation,
        at_ms: outgoing.at.0,
        held: Some(mark(outgoing.vitals.held)),
        waiting: outgoing.vitals.waiting,
    }
    .encode_to_vec();
    let signature = match outgoing.events.last() {
        Some((header, _)) => key.sign(Domain::Event, header),
        None => key.sign(Domain::Heartbeat, &heartbeat),
    };
    let (headers, payloads) =
        outgoing.events.iter().map(|(header, payload)| (header.to_vec(), payload.to_vec())).unzip();
    v1::EventsRequest { headers, payloads, heartbeat, signature: signature.0.to_vec() }.encode_to_vec()
}

/// A request that was verified.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The events in order.
    pub batch: Batch,
    /// What each says, if it can be read.
    pub facts: Vec<Option<AgentEvent>>,
    /// The signature over the last header.
    pub signature: Bytes,
}

/// What a request claims before it is verified: for records of refusals.
pub fn claims(bytes: &[u8]) -> (u64, u64) {
    let request = v1::EventsRequest::decode(bytes).unwrap_or_default();
    let header = request.headers.first().and_then(|header| v1::Header::decode(header.as_slice()).ok());
    let heartbeat = v1::Heartbeat::decode(request.heartbeat.as_slice()).unwrap_or_default();
    header.map_or((heartbeat.incarnation, 0), |header| (header.incarnation, header.seq))
}

/// Decodes and verifies a request that came on the subject of `account`.
///
/// A payload that cannot be read is no error: it is appended as it is.
///
/// # Errors
/// [`Error`] with the reason.
pub fn open_request(bytes: &[u8], account: &AccountKey, key: &PublicKey) -> Result<Incoming, Error> {
    let request: v1::EventsRequest = decode("EventsRequest", bytes)?;
    if request.headers.len() > EVENTS_MAX as usize || request.headers.len() != request.payloads.len() {
        return Err(Error::TooMany(request.headers.len()));
    }
    match request.headers.last() {
        Some(header) => key.verify(Domain::Event, header, &request.signature)?,
        None => key.verify(Domain::Heartbeat, &request.heartbeat, &request.signature)?,
    }
    let heartbeat: v1::Heartbeat = decode("Heartbeat", &request.heartbeat)?;
    if request.headers.is_empty() && heartbeat.account != account.as_str() {
        return Err(Error::OtherAccount(heartbeat.account));
    }
    let vitals = Vitals { held: read_mark(heartbeat.held), waiting: heartbeat.waiting };
    let mut batch = Batch { vitals, incarnation: heartbeat.incarnation, links: Vec::new() };
    let mut facts = Vec::new();
    for (header, payload) in request.headers.into_iter().zip(request.payloads) {
        let read = decode_header(&header)?;
        let (link, fact) = link(&read, account, header, payload)?;
        batch.incarnation = read.place.map_or(batch.incarnation, |place| place.incarnation);
        batch.links.push(link);
        facts.push(fact);
    }
    Ok(Incoming { batch, facts, signature: request.signature.into() })
}

fn link(
    read: &Header,
    account: &AccountKey,
    header: Vec<u8>,
    payload: Vec<u8>,
) -> Result<(Link, Option<AgentEvent>), Error> {
    let place = match &read.place {
        Some(place) if place.account == *account => place,
        Some(place) => return Err(Error::OtherAccount(place.account.to_string())),
        None => return Err(Error::OtherAccount(String::new())),
    };
    if sha256(&payload) != read.payload_digest {
        return Err(Error::OtherPayload(place.seq));
    }
    let fact = match decode_event(read, &payload) {
        Ok(Decoded::Agent(event)) => Some(event),
        _ => None,
    };
    let hash = sha256(&header);
    let (header, payload) = (Arc::from(header), Arc::from(payload));
    Ok((Link { seq: place.seq, previous: place.previous, hash, header, payload }, fact))
}

/// What the hub answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Events up to here are in the log.
    Receipt {
        /// Incarnation.
        incarnation: u64,
        /// Highest number in the log.
        seq: u64,
        /// Epoch of the hub.
        epoch: u64,
        /// Log index of the state that answered.
        log_index: u64,
    },
    /// Something is missing.
    Gap {
        /// Incarnation.
        incarnation: u64,
        /// The number that is expected next.
        expected: u64,
    },
    /// The request was refused.
    Refused(String),
}

/// Encodes a receipt, signed.
pub fn encode_receipt(
    account: &AccountKey,
    chain: Chain,
    epoch: u64,
    log_index: u64,
    held: Mark,
    key: &SigningKey,
) -> Vec<u8> {
    let receipt = v1::Receipt {
        account: account.to_string(),
        incarnation: chain.incarnation,
        seq: chain.seq,
        epoch,
        log_index,
    }
    .encode_to_vec();
    let signature = key.sign(Domain::Receipt, &receipt).0.to_vec();
    let outcome = v1::events_reply::Outcome::Receipt(v1::SignedReceipt { receipt, signature });
    v1::EventsReply { outcome: Some(outcome), mark: Some(mark(held)) }.encode_to_vec()
}

/// Encodes the answer to a request after a gap.
pub fn encode_gap(chain: Chain) -> Vec<u8> {
    let gap = v1::Gap { incarnation: chain.incarnation, expected: chain.seq + 1 };
    v1::EventsReply { outcome: Some(v1::events_reply::Outcome::Gap(gap)), mark: None }.encode_to_vec()
}

/// Encodes a refusal.
pub fn encode_refusal(reason: &str) -> Vec<u8> {
    let refusal = v1::Refusal { reason: reason.to_owned() };
    v1::EventsReply { outcome: Some(v1::events_reply::Outcome::Refusal(refusal)), mark: None }.encode_to_vec()
}

/// Decodes an answer; a receipt is verified. The mark is the index that the cluster should hold.
///
/// # Errors
/// [`Error`] if it is not an answer, or not the hub's.
pub fn open_answer(bytes: &[u8], account: &AccountKey, hub: &PublicKey) -> Result<(Answer, Mark), Error> {
    use v1::events_reply::Outcome;
    let reply: v1::EventsReply = decode("EventsReply", bytes)?;
    let answer = match reply.outcome {
        Some(Outcome::Receipt(signed)) => {
            hub.verify(Domain::Receipt, &signed.receipt, &signed.signature)?;
            let receipt: v1::Receipt = decode("Receipt", &signed.receipt)?;
            if receipt.account != account.as_str() {
                return Err(Error::OtherAccount(receipt.account));
            }
            let v1::Receipt { incarnation, seq, epoch, log_index, .. } = receipt;
            Answer::Receipt { incarnation, seq, epoch, log_index }
        }
        Some(Outcome::Gap(gap)) => Answer::Gap { incarnation: gap.incarnation, expected: gap.expected },
        Some(Outcome::Refusal(refusal)) => Answer::Refused(refusal.reason),
        None => Answer::Refused(String::from("the hub gave no reason")),
    };
    Ok((answer, read_mark(reply.mark)))
}

/// Payload and signature as they are stored beside a header.
pub fn encode_body(payload: &[u8], signature: &[u8]) -> Vec<u8> {
    v1::Body { payload: payload.to_vec(), signature: signature.to_vec() }.encode_to_vec()
}

/// Reads what [`encode_body`] wrote: the payload.
///
/// # Errors
/// [`Error`] if it is not a body.
pub fn decode_body(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let body: v1::Body = decode("Body", bytes)?;
    Ok((body.payload, body.signature))
}
