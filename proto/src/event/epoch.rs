//! Facts about epochs of the hub as payloads.

use super::parts::{change, mark, read_change, read_mark};
use crate::error::{Error, decode as message, digest, field, there};
use crate::{grant, v1};
use prost::Message;
use taffrail_core::cluster::{Chain, Number};
use taffrail_core::epoch::Evidence;
use taffrail_core::event::HubFact;

/// The payload of a fact; `None` if it is not about epochs.
pub(super) fn encode(fact: &HubFact) -> Option<Vec<u8>> {
    Some(match fact {
        HubFact::RestoreKeyMade { key } => v1::RestoreKeyMade { key: key.to_vec() }.encode_to_vec(),
        HubFact::LogBehind { evidence: of } => v1::LogBehind { evidence: Some(evidence(of)) }.encode_to_vec(),
        HubFact::EpochRaised { grant: of } => {
            v1::EpochRaised { grant: Some(grant::message(of)) }.encode_to_vec()
        }
        HubFact::EventsLost { first, last } => {
            v1::EventsLost { first: Some(number(*first)), last: Some(number(*last)) }.encode_to_vec()
        }
        HubFact::ClusterAdopted { mark: to, held, changes, chain } => v1::ClusterAdopted {
            mark: Some(mark(*to)),
            held: Some(mark(*held)),
            changes: changes.iter().map(change).collect(),
            chain: Some(number(chain.number())),
            hash: chain.hash.0.to_vec(),
        }
        .encode_to_vec(),
        _ => return None,
    })
}

fn number(of: Number) -> v1::Number {
    v1::Number { incarnation: of.incarnation, seq: of.seq }
}

fn read_number(of: Option<v1::Number>) -> Number {
    of.map(|of| Number { incarnation: of.incarnation, seq: of.seq }).unwrap_or_default()
}

fn evidence(of: &Evidence) -> v1::log_behind::Evidence {
    use v1::log_behind::Evidence as Shown;
    let marks = |found, known| v1::ShownMark { found: Some(mark(found)), known: Some(mark(known)) };
    match *of {
        Evidence::EpochFile { found, known } => Shown::EpochFile(v1::ShownEpoch { found, known }),
        Evidence::Bus { found, known } => Shown::Bus(marks(found, known)),
        Evidence::Index { found, known } => Shown::Index(marks(found, known)),
        Evidence::Receipt { found, known } => {
            Shown::Receipt(v1::ShownNumber { found: Some(number(found)), known: Some(number(known)) })
        }
    }
}

fn read_evidence(of: v1::log_behind::Evidence) -> Evidence {
    use v1::log_behind::Evidence as Shown;
    match of {
        Shown::EpochFile(v1::ShownEpoch { found, known }) => Evidence::EpochFile { found, known },
        Shown::Bus(of) => Evidence::Bus { found: read_mark(of.found), known: read_mark(of.known) },
        Shown::Index(of) => Evidence::Index { found: read_mark(of.found), known: read_mark(of.known) },
        Shown::Receipt(of) => {
            Evidence::Receipt { found: read_number(of.found), known: read_number(of.known) }
        }
    }
}

/// Reads a payload of a kind; `None` if the kind is not about epochs.
pub(super) fn decode(kind: &str, payload: &[u8]) -> Result<Option<HubFact>, Error> {
    Ok(Some(match kind {
        "RestoreKeyMade" => {
            let raw: v1::RestoreKeyMade = message("RestoreKeyMade", payload)?;
            HubFact::RestoreKeyMade { key: digest("RestoreKeyMade", "key", &raw.key)?.0 }
        }
        "LogBehind" => {
            let raw: v1::LogBehind = message("LogBehind", payload)?;
            let evidence = there("LogBehind", "evidence", raw.evidence)?;
            HubFact::LogBehind { evidence: read_evidence(evidence) }
        }
        "EpochRaised" => {
            let raw: v1::EpochRaised = message("EpochRaised", payload)?;
            let kind = raw.grant.as_ref().map(|grant| grant.kind.clone()).unwrap_or_default();
            let grant = grant::read(raw.grant).ok_or_else(|| field("EpochRaised", "grant", kind))?;
            HubFact::EpochRaised { grant }
        }
        "EventsLost" => {
            let raw: v1::EventsLost = message("EventsLost", payload)?;
            HubFact::EventsLost { first: read_number(raw.first), last: read_number(raw.last) }
        }
        "ClusterAdopted" => {
            let raw: v1::ClusterAdopted = message("ClusterAdopted", payload)?;
            let Number { incarnation, seq } = read_number(raw.chain);
            let hash = digest("ClusterAdopted", "hash", &raw.hash)?;
            let changes = raw.changes.into_iter().map(read_change).collect::<Result<_, _>>()?;
            let (mark, held) = (read_mark(raw.mark), read_mark(raw.held));
            HubFact::ClusterAdopted { mark, held, changes, chain: Chain { incarnation, seq, hash } }
        }
        _ => return Ok(None),
    }))
}
