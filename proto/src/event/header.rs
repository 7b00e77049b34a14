//! Headers: what is signed, chained and indexed.

use crate::error::{Error, decode as message, digest, optional};
use crate::sign::sha256;
use crate::v1;
use bytes::Bytes;
use prost::Message;
use taffrail_core::digest::Digest;
use taffrail_core::event::{Actor, AgentEvent, Context, HubEvent};
use taffrail_core::id::AccountKey;
use taffrail_core::time::At;

/// Version of the payloads that are written.
const SCHEMA: u32 = 1;

/// Where an agent's event stands in its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The agent's account.
    pub account: AccountKey,
    /// Incarnation of its journal.
    pub incarnation: u64,
    /// Its number.
    pub seq: u64,
    /// SHA-256 of the header before; zero for the first.
    pub previous: Digest,
}

/// A header that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name of the kind.
    pub kind: String,
    /// What the fact is about.
    pub context: Context,
    /// SHA-256 of the payload.
    pub payload_digest: Digest,
    /// Set for events of agents.
    pub place: Option<Place>,
    /// A reader that does not know the kind must stop writing.
    pub must_understand: bool,
}

/// An event that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A fact of the hub.
    Hub(HubEvent),
    /// A fact of an agent.
    Agent(AgentEvent),
    /// A kind that this version does not know.
    Unknown,
}

/// Header and payload of a fact of the hub.
pub fn encode_hub(event: &HubEvent) -> (Bytes, Bytes) {
    let payload = super::hub::encode(&event.fact);
    let must_understand = event.fact.must_understand();
    let header = v1::Header { must_understand, ..header(event.fact.kind(), &event.context, &payload, None) };
    (header.encode_to_vec().into(), payload.into())
}

/// Header and payload of a fact of an agent at its place.
pub fn encode_agent(event: &AgentEvent, place: &Place) -> (Bytes, Bytes) {
    let payload = super::agent::encode(&event.fact);
    let header = header(event.fact.kind(), &event.context, &payload, Some(place));
    (header.encode_to_vec().into(), payload.into())
}

fn header(kind: &str, context: &Context, payload: &[u8], place: Option<&Place>) -> v1::Header {
    let text = |name: Option<String>| name.unwrap_or_default();
    v1::Header {
        kind: kind.to_owned(),
        schema: SCHEMA,
        cluster: text(context.cluster.as_ref().map(ToString::to_string)),
        app: text(context.app.as_ref().map(ToString::to_string)),
        commit: text(context.commit.as_ref().map(ToString::to_string)),
        actor: context.actor.to_string(),
        cause: context.cause.unwrap_or(0),
        at_ms: context.at.0,
        trace: text(context.trace.clone()),
        payload_digest: sha256(payload).0.to_vec(),
        account: text(place.map(|place| place.account.to_string())),
        incarnation: place.map_or(0, |place| place.incarnation),
        seq: place.map_or(0, |place| place.seq),
        previous: place.map(|place| place.previous.0.to_vec()).unwrap_or_default(),
        must_understand: false,
    }
}

/// Reads a header, without its payload.
///
/// # Errors
/// [`Error`] if the bytes are not a header, or a name in it breaks its rule.
#[expect(clippy::module_name_repetitions, reason = "a header is read alone or with its payload")]
pub fn decode_header(bytes: &[u8]) -> Result<Header, Error> {
    let raw: v1::Header = message("Header", bytes)?;
    let context = Context {
        cluster: optional(raw.cluster)?,
        app: optional(raw.app)?,
        commit: optional(raw.commit)?,
        actor: Actor::parse(&raw.actor),
        cause: (raw.cause != 0).then_some(raw.cause),
        at: At(raw.at_ms),
        trace: (!raw.trace.is_empty()).then_some(raw.trace),
    };
    let place = if raw.account.is_empty() {
        None
    } else {
        Some(Place {
            account: AccountKey::try_from(raw.account)?,
            incarnation: raw.incarnation,
            seq: raw.seq,
            previous: digest("Header", "previous", &raw.previous)?,
        })
    };
    Ok(Header {
        kind: raw.kind,
        context,
        payload_digest: digest("Header", "payload_digest", &raw.payload_digest)?,
        place,
        must_understand: raw.must_understand,
    })
}

/// Reads the fact behind a header. A kind that is not known is no error.
///
/// # Errors
/// [`Error`] if the payload is not what the kind says.
pub fn decode(header: &Header, payload: &[u8]) -> Result<Decoded, Error> {
    let context = header.context.clone();
    if header.place.is_some() {
        let fact = super::agent::decode(&header.kind, payload)?;
        return Ok(fact.map_or(Decoded::Unknown, |fact| Decoded::Agent(AgentEvent { context, fact })));
    }
    let fact = super::hub::decode(&header.kind, payload)?;
    Ok(fact.map_or(Decoded::Unknown, |fact| Decoded::Hub(HubEvent { context, fact })))
}

/// The fact of an agent behind its header, which is used up for it; `None` if it cannot be read.
pub(crate) fn agent_event(header: Header, payload: &[u8]) -> Option<AgentEvent> {
    let fact = super::agent::decode(&header.kind, payload).ok()??;
    Some(AgentEvent { context: header.context, fact })
}
