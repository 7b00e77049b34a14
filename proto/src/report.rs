//! Events on their way to the hub, and the receipts that come back.

use crate::error::{Error as Malformed, decode};
use crate::event::parts::{mark, read_mark};
use crate::event::{Header, agent_event, decode_header};
use crate::proof::{self, Shown, Stated};
use crate::sign::{self, Domain, Signs, Verifies, sha256};
use crate::v1;
use bytes::Bytes;
use prost::Message;
use taffrail_core::cluster::{Batch, Chain, Link, Vitals};
use taffrail_core::desired::Mark;
use taffrail_core::event::AgentEvent;
use taffrail_core::id::AccountKey;
use taffrail_core::node::hub::Reply;
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
    /// What it shows is not the cluster's statement.
    #[error("read the request")]
    Proof(#[from] proof::Error),
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
    /// What it shows of the hub's earlier words. It travels without events: both together may be too large.
    pub proof: Option<Shown>,
}

/// Signs and encodes a request; without events it is a heartbeat.
pub fn encode_request(outgoing: &Outgoing, key: &impl Signs) -> Vec<u8> {
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
    let signature = signature.0.to_vec();
    let mut request =
        v1::EventsRequest { headers, payloads, heartbeat, signature, ..v1::EventsRequest::default() };
    if let Some(shown) = &outgoing.proof {
        proof::put(&mut request, &outgoing.account, shown, key);
    }
    request.encode_to_vec()
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
    /// What it shows of the hub's earlier words; to be verified with the hub's key.
    pub stated: Option<Stated>,
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
pub fn open_request(bytes: &[u8], account: &AccountKey, key: &impl Verifies) -> Result<Incoming, Error> {
    let mut request: v1::EventsRequest = decode("EventsRequest", bytes)?;
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
    let stated = proof::take(&mut request, account, key)?;
    let vitals = Vitals { held: read_mark(heartbeat.held), waiting: heartbeat.waiting };
    let mut batch = Batch { vitals, incarnation: heartbeat.incarnation, links: Vec::new(), proof: None };
    let mut facts = Vec::new();
    for (header, payload) in request.headers.into_iter().zip(request.payloads) {
        let read = decode_header(&header)?;
        batch.incarnation = read.place.as_ref().map_or(batch.incarnation, |place| place.incarnation);
        let (link, fact) = link(read, account, header, payload)?;
        batch.links.push(link);
        facts.push(fact);
    }
    Ok(Incoming { batch, facts, signature: request.signature.into(), stated })
}

fn link(
    read: Header,
    account: &AccountKey,
    header: Vec<u8>,
    payload: Vec<u8>,
) -> Result<(Link, Option<AgentEvent>), Error> {
    let (seq, previous) = match &read.place {
        Some(place) if place.account == *account => (place.seq, place.previous),
        Some(place) => return Err(Error::OtherAccount(place.account.to_string())),
        None => return Err(Error::OtherAccount(String::new())),
    };
    if sha256(&payload) != read.payload_digest {
        return Err(Error::OtherPayload(seq));
    }
    let fact = agent_event(read, &payload);
    let hash = sha256(&header);
    Ok((Link { seq, previous, hash, header, payload }, fact))
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
    /// The request was refused, because another has used the numbers of this journal.
    Forked(String),
}

/// Encodes a receipt, signed.
pub fn encode_receipt(
    account: &AccountKey,
    chain: Chain,
    epoch: u64,
    log_index: u64,
    held: Mark,
    key: &impl Signs,
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
    refusal(reason, false)
}

fn refusal(reason: &str, forked: bool) -> Vec<u8> {
    let refusal = v1::Refusal { reason: reason.to_owned(), forked };
    v1::EventsReply { outcome: Some(v1::events_reply::Outcome::Refusal(refusal)), mark: None }.encode_to_vec()
}

/// Decodes an answer; a receipt is verified. The mark is the index that the cluster should hold.
///
/// # Errors
/// [`Error`] if it is not an answer, or not the hub's.
pub fn open_answer(bytes: &[u8], account: &AccountKey, hub: &impl Verifies) -> Result<(Answer, Mark), Error> {
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
        Some(Outcome::Refusal(refusal)) if refusal.forked => Answer::Forked(refusal.reason),
        Some(Outcome::Refusal(refusal)) => Answer::Refused(refusal.reason),
        None => Answer::Refused(String::from("the hub gave no reason")),
    };
    Ok((answer, read_mark(reply.mark)))
}

/// The part of a journal's outbox that a request carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Incarnation of the journal.
    pub incarnation: u64,
    /// Number of the first event.
    pub from: u64,
    /// Number of the last event; zero without events.
    pub last: u64,
}

impl Answer {
    /// Up to which event an answer lets the outbox forget: never more than was carried, never less than is known.
    pub fn receipted(&self, carried: Carried) -> Option<u64> {
        let Answer::Receipt { incarnation, seq, .. } = self else { return None };
        let counts = *incarnation == carried.incarnation && *seq >= carried.from;
        counts.then(|| (*seq).min(carried.last))
    }

    /// Whether a receipt ends before events that have one: the hub's log is older than its own words.
    pub fn says_less(&self, carried: Carried) -> bool {
        let Answer::Receipt { incarnation, seq, .. } = self else { return false };
        carried.from > 1 && (*incarnation, *seq + 1) < (carried.incarnation, carried.from)
    }

    /// Whether another has used the numbers of this journal: the hub says so, or it has an event that was never sent from
    /// here. `sent` is the highest number that may have been.
    pub fn is_forked(&self, of: u64, sent: u64) -> bool {
        match self {
            Answer::Receipt { incarnation, seq, .. } => *incarnation == of && *seq > sent,
            Answer::Forked(_) => true,
            Answer::Gap { .. } | Answer::Refused(_) => false,
        }
    }
}

/// Encodes the reply to a request for events; `None` for a reply to something else. `log_index` is that of the state
/// that replied.
pub fn encode_reply(
    reply: &Reply,
    account: &AccountKey,
    epoch: u64,
    log_index: u64,
    key: &impl Signs,
) -> Option<Vec<u8>> {
    match reply {
        Reply::Receipt { chain, mark } => Some(encode_receipt(account, *chain, epoch, log_index, *mark, key)),
        Reply::Gap { chain } => Some(encode_gap(*chain)),
        Reply::Refused { reason } => Some(encode_refusal(reason)),
        Reply::Forked { reason } => Some(refusal(reason, true)),
        _ => None,
    }
}

/// Payload and signature as they are stored beside a header.
pub fn encode_body(payload: impl Into<Vec<u8>>, signature: &[u8]) -> Vec<u8> {
    v1::Body { payload: payload.into(), signature: signature.to_vec() }.encode_to_vec()
}

/// Reads what [`encode_body`] wrote: the payload.
///
/// # Errors
/// [`Error`] if it is not a body.
pub fn decode_body(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let body: v1::Body = decode("Body", bytes)?;
    Ok((body.payload, body.signature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Place, encode_agent};
    use crate::sign::SigningKey;
    use taffrail_core::digest::Digest;
    use taffrail_core::event::{Actor, AgentFact, Context};

    fn account(letter: char) -> AccountKey {
        AccountKey::parse(&format!("A{}", letter.to_string().repeat(55))).unwrap()
    }

    /// Consecutive events of one agent.
    fn events(of: &AccountKey, count: u64) -> Vec<(Bytes, Bytes)> {
        let mut previous = Digest::default();
        let event = |seq: u64| {
            let fact = AgentFact::Withdrawn { since: None, deleted: u32::try_from(seq).unwrap(), kept: 0 };
            let place = Place { account: of.clone(), incarnation: 3, seq, previous };
            let pair = encode_agent(&AgentEvent { context: Context::new(Actor::Agent, At(1)), fact }, &place);
            previous = sha256(&pair.0);
            pair
        };
        (1..=count).map(event).collect()
    }

    fn outgoing(of: &AccountKey, count: u64) -> Outgoing {
        let vitals = Vitals { held: Mark { epoch: 1, generation: 4 }, waiting: count };
        Outgoing {
            account: of.clone(),
            incarnation: 3,
            at: At(7),
            vitals,
            events: events(of, count),
            proof: None,
        }
    }

    #[test]
    fn a_request_comes_through_as_it_was_sent() {
        let (key, of) = (SigningKey::generate().unwrap(), account('B'));
        let sent = outgoing(&of, 3);
        let read = open_request(&encode_request(&sent, &key), &of, &key.public()).unwrap();
        assert_eq!((read.batch.incarnation, read.batch.vitals), (3, sent.vitals));
        assert_eq!(read.batch.links.iter().map(|link| link.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(read.batch.links[1].previous, read.batch.links[0].hash);
        assert_eq!(&*read.batch.links[2].header, &*sent.events[2].0, "byte for byte");
        assert!(read.facts.iter().all(Option::is_some));
        let heartbeat = open_request(&encode_request(&outgoing(&of, 0), &key), &of, &key.public()).unwrap();
        assert_eq!((heartbeat.batch.links.len(), heartbeat.batch.incarnation), (0, 3));
    }

    #[test]
    fn whatever_is_not_the_cluster_s_own_word_is_refused() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let (of, else_s) = (account('B'), account('C'));
        let refused = |bytes: &[u8]| open_request(bytes, &of, &key.public()).unwrap_err();
        assert!(matches!(refused(&encode_request(&outgoing(&of, 2), &other)), Error::Signature(_)));
        assert!(matches!(refused(&encode_request(&outgoing(&of, 0), &other)), Error::Signature(_)));
        assert!(matches!(refused(&encode_request(&outgoing(&else_s, 2), &key)), Error::OtherAccount(_)));
        assert!(matches!(refused(&encode_request(&outgoing(&else_s, 0), &key)), Error::OtherAccount(_)));
        assert!(matches!(refused(b"\xff\xff"), Error::Malformed(_)));

        let mut swapped = outgoing(&of, 2);
        swapped.events[0].1 = swapped.events[1].1.clone();
        assert!(matches!(refused(&encode_request(&swapped, &key)), Error::OtherPayload(1)));
        let mut many = outgoing(&of, 1);
        many.events = vec![many.events[0].clone(); EVENTS_MAX as usize + 1];
        assert!(matches!(refused(&encode_request(&many, &key)), Error::TooMany(_)));
    }

    #[test]
    fn a_payload_that_cannot_be_read_does_not_block_the_cluster() {
        let (key, of) = (SigningKey::generate().unwrap(), account('B'));
        let header = v1::Header {
            kind: "InstanceChanged".into(),
            payload_digest: sha256(b"\xff").0.to_vec(),
            account: of.to_string(),
            incarnation: 3,
            seq: 1,
            previous: vec![0; 32],
            ..v1::Header::default()
        };
        let mut sent = outgoing(&of, 0);
        sent.events = vec![(header.encode_to_vec().into(), Bytes::from_static(b"\xff"))];
        let read = open_request(&encode_request(&sent, &key), &of, &key.public()).unwrap();
        assert_eq!((read.facts, read.batch.links.len()), (vec![None], 1));
    }

    #[test]
    fn only_the_hub_s_receipt_for_this_cluster_counts() {
        let (hub, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let (of, else_s) = (account('B'), account('C'));
        let chain = Chain { incarnation: 3, seq: 9, hash: Digest::default() };
        let held = Mark { epoch: 1, generation: 5 };
        let receipt = encode_receipt(&of, chain, 1, 40, held, &hub);
        let wanted = Answer::Receipt { incarnation: 3, seq: 9, epoch: 1, log_index: 40 };
        assert_eq!(open_answer(&receipt, &of, &hub.public()).unwrap(), (wanted, held));
        assert!(matches!(open_answer(&receipt, &of, &other.public()), Err(Error::Signature(_))));
        assert!(matches!(open_answer(&receipt, &else_s, &hub.public()), Err(Error::OtherAccount(_))));
        let (gap, _) = open_answer(&encode_gap(chain), &of, &hub.public()).unwrap();
        assert_eq!(gap, Answer::Gap { incarnation: 3, expected: 10 });
        let (refusal, _) = open_answer(&encode_refusal("no"), &of, &hub.public()).unwrap();
        assert_eq!(refusal, Answer::Refused("no".into()));
        let forked = Reply::Forked { reason: "no".into() };
        let (forked, _) =
            open_answer(&encode_reply(&forked, &of, 1, 1, &hub).unwrap(), &of, &hub.public()).unwrap();
        assert_eq!(forked, Answer::Forked("no".into()));
        let cases = [(forked, true), (refusal, false)].into_iter().chain(
            [(2, 8, true), (2, 7, false), (1, 8, false)].map(|(incarnation, seq, is)| {
                (Answer::Receipt { incarnation, seq, epoch: 1, log_index: 9 }, is)
            }),
        );
        for (answer, is) in cases {
            assert_eq!(answer.is_forked(2, 7), is, "{answer:?}");
        }
        assert_eq!(claims(&encode_request(&outgoing(&of, 2), &hub)), (3, 1));
    }

    #[test]
    fn what_an_agent_shows_is_its_own_statement_of_what_the_hub_signed() {
        use crate::index::{Terms, seal, verify};
        use crate::proof::signed_receipt;
        use crate::seal::BoxKey;
        use taffrail_core::cluster::Number;
        use taffrail_core::desired::Index;
        let [hub, agent, other] = [1, 2, 3].map(|byte| SigningKey::from_seed([byte; 32]));
        let (of, boxed) = (account('B'), BoxKey::generate());
        let index = Index { mark: Mark { epoch: 1, generation: 9 }, ..Index::default() };
        let signed = |by: &SigningKey, of: &AccountKey| {
            let sealed = seal(
                &index,
                of,
                &boxed.public(),
                by,
                &std::collections::BTreeMap::default(),
                &Terms::default(),
            );
            verify(boxed.open(&sealed.unwrap()).unwrap(), &by.public(), of).unwrap().signed
        };
        let receipt = |by: &SigningKey, of: &AccountKey| {
            let chain = Chain { incarnation: 3, seq: 9, hash: Digest::default() };
            signed_receipt(&encode_receipt(of, chain, 1, 40, Mark::default(), by))
        };
        let chain = Chain { incarnation: 3, seq: 8, hash: Digest([5; 32]) };
        let pending = Mark { epoch: 2, generation: 4 };
        let read = |shown: Shown, by: &SigningKey| {
            let sent = Outgoing { proof: Some(shown), ..outgoing(&of, 0) };
            let bytes = encode_request(&sent, by);
            let incoming = open_request(&bytes, &of, &by.public()).unwrap();
            incoming.stated.unwrap().verify(&hub.public(), &of)
        };
        let shown = |index, receipt| Shown { pending, index, receipt, chain };
        let proof = read(shown(Some(signed(&hub, &of)), receipt(&hub, &of)), &agent).unwrap();
        assert_eq!((proof.index, proof.pending, proof.chain), (Some(index.clone()), pending, chain));
        assert_eq!(proof.receipt, Some(Number { incarnation: 3, seq: 9 }));
        assert_eq!(read(shown(None, None), &agent).unwrap().index, None, "a lost journal shows nothing");

        let else_s = account('C');
        assert!(read(shown(Some(signed(&other, &of)), None), &agent).is_err(), "not the hub's index");
        assert!(read(shown(Some(signed(&hub, &else_s)), None), &agent).is_err(), "another cluster's index");
        assert!(read(shown(None, receipt(&other, &of)), &agent).is_err(), "not the hub's receipt");
        assert!(read(shown(None, receipt(&hub, &else_s)), &agent).is_err(), "another cluster's receipt");
        // The statement around it is the agent's: nobody else can make it say something else.
        let sent = Outgoing { proof: Some(shown(None, None)), ..outgoing(&of, 0) };
        let mut request = v1::EventsRequest::decode(encode_request(&sent, &agent).as_slice()).unwrap();
        *request.proof.last_mut().unwrap() ^= 1;
        let changed = open_request(&request.encode_to_vec(), &of, &agent.public());
        assert!(matches!(changed, Err(Error::Proof(_))));
    }

    #[test]
    fn a_receipt_that_ends_before_earlier_ones_shows_a_log_that_is_too_old() {
        let receipt = |incarnation, seq| Answer::Receipt { incarnation, seq, epoch: 1, log_index: 9 };
        let carried = |from| Carried { incarnation: 2, from, last: 0 };
        for (answer, from, less) in [
            (receipt(2, 5), 6, false),
            (receipt(2, 4), 6, true),
            (receipt(1, 9), 6, true),
            (receipt(1, 9), 1, false),
            (receipt(2, 8), 6, false),
            (Answer::Refused(String::new()), 6, false),
        ] {
            assert_eq!(answer.says_less(carried(from)), less, "{answer:?} {from}");
        }
    }
}
