//! Facts of agents as payloads.

use super::parts::{key, mark, read_key, read_keys, read_mark};
use crate::error::{Error, decode as message, digest, field};
use crate::v1;
use prost::Message;
use taffrail_core::event::AgentFact;
use taffrail_core::event::agent::{Journal, Phase, Refusal, Status, Trouble};
use taffrail_core::health::{Cause, Health};

/// The payload of a fact.
pub fn encode(fact: &AgentFact) -> Vec<u8> {
    match fact.clone() {
        AgentFact::Started { version, kubernetes, journal } => {
            let journal = match journal {
                Journal::Found => "found",
                Journal::New => "new",
                Journal::Lost => "lost",
            };
            v1::AgentStarted { version, kubernetes, journal: journal.to_owned() }.encode_to_vec()
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
                "lost" => Journal::Lost,
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
        _ => return Ok(None),
    };
    Ok(Some(fact))
}
