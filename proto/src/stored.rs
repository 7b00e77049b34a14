//! Events as the hub's log stores them, and the log as the state that it makes.

use crate::error::Error as Malformed;
use crate::event::{Decoded, decode, decode_header, encode_hub};
use crate::report::{self, decode_body, encode_body};
use crate::sign::sha256;
use bytes::Bytes;
use taffrail_core::cluster::Chain;
use taffrail_core::event::{AgentEvent, HubEvent};
use taffrail_core::id::AccountKey;
use taffrail_core::node::hub::{Append, Durable};
use taffrail_core::time::At;

/// Why a stored event cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its header or its payload is not what it should be.
    #[error("read the event")]
    Malformed(#[from] Malformed),
    /// Its body is not what it should be.
    #[error("read the event's body")]
    Body(#[from] report::Error),
    /// A newer version wrote it, and it must not be skipped.
    #[error("its kind {kind} is not known to this version and must be understood")]
    TooNew {
        /// Its kind.
        kind: String,
    },
}

/// Header and body of one append. `signature` belongs to the last event of an agent's request.
pub fn encode(append: Append, signature: &[u8]) -> (Bytes, Bytes) {
    match append {
        Append::Own(event) => {
            let (header, payload) = encode_hub(&event);
            (header, encode_body(payload, b"").into())
        }
        Append::Foreign(foreign) => {
            (foreign.link.header.into(), encode_body(foreign.link.payload, signature).into())
        }
    }
}

/// A stored event that was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A fact of the hub.
    Hub(Box<HubEvent>),
    /// A fact of an agent: its place in the agent's chain, and what it says if this version knows its kind.
    Agent {
        /// Whose chain.
        account: AccountKey,
        /// The chain's end with it.
        chain: Chain,
        /// What it says.
        event: Option<Box<AgentEvent>>,
    },
    /// A fact of the hub of a kind that this version does not know and may skip.
    Unknown,
}

/// Reads one stored event.
///
/// # Errors
/// [`Error`] with the reason. A kind that is not known is none, unless it says that it must be understood.
pub fn read(header: &[u8], body: &[u8]) -> Result<Entry, Error> {
    let hash = sha256(header);
    let header = decode_header(header)?;
    let (payload, _) = decode_body(body)?;
    let decoded = decode(&header, &payload);
    if header.must_understand && matches!(decoded, Ok(Decoded::Unknown)) {
        return Err(Error::TooNew { kind: header.kind });
    }
    if let Some(place) = header.place {
        let chain = Chain { incarnation: place.incarnation, seq: place.seq, hash };
        let event = match decoded {
            Ok(Decoded::Agent(event)) => Some(Box::new(event)),
            _ => None,
        };
        return Ok(Entry::Agent { account: place.account, chain, event });
    }
    Ok(match decoded? {
        Decoded::Hub(event) => Entry::Hub(Box::new(event)),
        _ => Entry::Unknown,
    })
}

impl Entry {
    /// Applies it as the event at `index`.
    pub fn apply(&self, state: &mut Durable, index: u64, appended_at: At) {
        match self {
            Entry::Hub(event) => state.hub_event(index, appended_at, event),
            Entry::Agent { account, chain, event } => {
                state.agent_event(index, appended_at, account, *chain, event.as_deref());
            }
            Entry::Unknown => state.skip(index, appended_at),
        }
    }
}

/// Reads one stored event and applies it as the event at `index`.
///
/// # Errors
/// As [`read`]; the state is unchanged then.
pub fn apply(
    state: &mut Durable,
    index: u64,
    appended_at: At,
    header: &[u8],
    body: &[u8],
) -> Result<(), Error> {
    read(header, body)?.apply(state, index, appended_at);
    Ok(())
}
