//! Facts of agents as payloads.

use super::parts::{key, mark, read_key, read_keys, read_mark};
use crate::error::{Error, decode as message, digest, field};
use crate::v1;
use prost::Message;
use taffrail_core::event::AgentFact;
use taffrail_core::event::agent::{Journal, LostEvents, Phase, Refusal, Status, Trouble};
use taffrail_core::health::{Cause, Health};
use taffrail_core::time::At;

/// The payload of a fact.
pub fn encode(fact: &AgentFact) -> Vec<u8> {
    match fact.clone() {
        AgentFact::Started { version, kubernetes, journal } => {
            let mut raw = v1::AgentStarted { version, kubernetes, ..v1::AgentStarted::default() };
            raw.journal = match journal {
                Journal::Found => "found".to_owned(),
                Journal::New => "new".to_owned(),
                Journal::Lost(events) => {
                    put_lost(&mut raw, events);
                    "lost".to_owned()
                }
            };
            raw.encode_to_vec()
        }
        AgentFact::InstanceChanged(status) => self::status(&status).encode_to_vec(),
        AgentFact::DriftBegun { object, fields, manager, gone } => {
            v1::DriftBegun { object: Some(key(&object)), fields, manager, gone }.encode_to_vec()
        }
        AgentFact::DriftHealed { object, fields, manager, lasted_ms, attempts } => {
            v1::DriftHealed { object: Some(key(&object)), fields, manager, lasted_ms, attempts }
                .encode_to_vec()
        }
        AgentFact::FieldsTaken { object, manager, fields } => {
            v1::FieldsTaken { object: Some(key(&object)), manager, fields }.encode_to_vec()
        }
        AgentFact::Pruned { objects } => {
            v1::Pruned { objects: objects.iter().map(key).collect() }.encode_to_vec()
        }
        AgentFact::Withdrawn { since, deleted, kept } => {
            v1::Withdrawn { deleted, kept, since: since.map(mark) }.encode_to_vec()
        }
        AgentFact::IndexRefused { mark: of, reason } => {
            v1::IndexRefused { mark: Some(mark(of)), reason: reason.name().to_owned() }.encode_to_vec()
        }
        AgentFact::ClusterWentBack { was, is } => v1::ClusterWentBack { was, is }.encode_to_vec(),
        AgentFact::FactsFolded { kind, count, since, until } => {
            v1::FactsFolded { kind, count, since_ms: since.0, until_ms: until.0 }.encode_to_vec()
        }
    }
}

fn put_lost(raw: &mut v1::AgentStarted, events: LostEvents) {
    match events {
        LostEvents::Unknown => {}
        LostEvents::None => "none".clone_into(&mut raw.lost),
        LostEvents::Range { incarnation, from, through } => {
            "range".clone_into(&mut raw.lost);
            (raw.lost_incarnation, raw.lost_from, raw.lost_through) = (incarnation, from, through);
        }
    }
}

fn read_lost(raw: &v1::AgentStarted) -> Result<LostEvents, Error> {
    match raw.lost.as_str() {
        "" => Ok(LostEvents::Unknown),
        "none" => Ok(LostEvents::None),
        "range" => {
            let (incarnation, from, through) = (raw.lost_incarnation, raw.lost_from, raw.lost_through);
            Ok(LostEvents::Range { incarnation, from, through })
        }
        other => Err(field("AgentStarted", "lost", other)),
    }
}

/// A status as its message.
pub fn status(status: &Status) -> v1::InstanceChanged {
    let troubles = status.troubles.iter().map(|trouble| v1::Trouble {
        object: Some(key(&trouble.object)),
        cause: trouble.cause.as_ref().map(|cause| cause.as_str().to_owned()).unwrap_or_default(),
        message: trouble.message.clone(),
    });
    v1::InstanceChanged {
        since: Some(mark(status.since)),
        digest: status.digest.0.to_vec(),
        phase: status.phase.name().to_owned(),
        health: status.health.as_str().to_owned(),
        message: status.message.clone(),
        troubles: troubles.collect(),
        objects: status.objects,
        held: status.held.iter().map(key).collect(),
        flaps: status.flaps,
    }
}

/// Reads a status.
///
/// # Errors
/// [`Error`] with the field that is wrong.
pub fn read_status(raw: v1::InstanceChanged) -> Result<Status, Error> {
    let what = "InstanceChanged";
    let troubles = raw.troubles.into_iter().map(|trouble| {
        Ok(Trouble {
            object: read_key(trouble.object)?,
            cause: Cause::parse(&trouble.cause),
            message: trouble.message,
        })
    });
    Ok(Status {
        since: read_mark(raw.since),
        digest: digest(what, "digest", &raw.digest)?,
        phase: Phase::parse(&raw.phase).ok_or_else(|| field(what, "phase", &raw.phase))?,
        health: Health::parse(&raw.health).ok_or_else(|| field(what, "health", &raw.health))?,
        message: raw.message,
        troubles: troubles.collect::<Result<_, Error>>()?,
        objects: raw.objects,
        held: read_keys(raw.held)?,
        flaps: raw.flaps,
    })
}

/// Reads a payload of a kind; `None` if the kind is not known.
///
/// # Errors
/// [`Error`] if the payload is not what the kind says.
pub fn decode(kind: &str, payload: &[u8]) -> Result<Option<AgentFact>, Error> {
    let fact = match kind {
        "AgentStarted" | "JournalLost" => {
            let raw: v1::AgentStarted = message("AgentStarted", payload)?;
            let journal = match raw.journal.as_str() {
                "found" => Journal::Found,
                "new" => Journal::New,
                "lost" => Journal::Lost(read_lost(&raw)?),
                other => return Err(field("AgentStarted", "journal", other)),
            };
            AgentFact::Started { version: raw.version, kubernetes: raw.kubernetes, journal }
        }
        "InstanceChanged" => AgentFact::InstanceChanged(read_status(message("InstanceChanged", payload)?)?),
        "DriftBegun" => {
            let raw: v1::DriftBegun = message("DriftBegun", payload)?;
            let (object, fields) = (read_key(raw.object)?, raw.fields);
            AgentFact::DriftBegun { object, fields, manager: raw.manager, gone: raw.gone }
        }
        "DriftHealed" => {
            let raw: v1::DriftHealed = message("DriftHealed", payload)?;
            AgentFact::DriftHealed {
                object: read_key(raw.object)?,
                fields: raw.fields,
                manager: raw.manager,
                lasted_ms: raw.lasted_ms,
                attempts: raw.attempts,
            }
        }
        "FieldsTaken" => {
            let raw: v1::FieldsTaken = message("FieldsTaken", payload)?;
            AgentFact::FieldsTaken { object: read_key(raw.object)?, manager: raw.manager, fields: raw.fields }
        }
        "Pruned" => {
            let raw: v1::Pruned = message("Pruned", payload)?;
            AgentFact::Pruned { objects: read_keys(raw.objects)? }
        }
        "Withdrawn" => {
            let raw: v1::Withdrawn = message("Withdrawn", payload)?;
            let since = raw.since.map(|since| read_mark(Some(since)));
            AgentFact::Withdrawn { since, deleted: raw.deleted, kept: raw.kept }
        }
        "IndexRefused" | "Equivocation" => {
            let raw: v1::IndexRefused = message("IndexRefused", payload)?;
            let reason = Refusal::ALL.iter().find(|(_, name)| *name == raw.reason).map(|(reason, _)| *reason);
            let reason = reason.ok_or_else(|| field("IndexRefused", "reason", &raw.reason))?;
            AgentFact::IndexRefused { mark: read_mark(raw.mark), reason }
        }
        "ClusterWentBack" => {
            let v1::ClusterWentBack { was, is } = message("ClusterWentBack", payload)?;
            AgentFact::ClusterWentBack { was, is }
        }
        "FactsFolded" => {
            let v1::FactsFolded { kind, count, since_ms, until_ms } = message("FactsFolded", payload)?;
            AgentFact::FactsFolded { kind, count, since: At(since_ms), until: At(until_ms) }
        }
        _ => return Ok(None),
    };
    Ok(Some(fact))
}
