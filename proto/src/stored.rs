//! Events as the hub's log stores them, and the log as the state that it makes.

use crate::error::Error as Malformed;
use crate::event::{Decoded, decode, decode_header, encode_hub};
use crate::report::{self, decode_body, encode_body};
use crate::sign::sha256;
use bytes::Bytes;
use taffrail_core::cluster::Chain;
use taffrail_core::node::hub::{Append, Durable};
use taffrail_core::time::At;

/// Why a stored event cannot be applied.
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
pub fn encode(append: &Append, signature: &[u8]) -> (Bytes, Bytes) {
    match append {
        Append::Own(event) => {
            let (header, payload) = encode_hub(event);
            (header, encode_body(&payload, b"").into())
        }
        Append::Foreign(foreign) => {
            let header = Bytes::copy_from_slice(&foreign.link.header);
            (header, encode_body(&foreign.link.payload, signature).into())
        }
    }
}

/// Applies one stored event. A kind that is not known is skipped, unless it says that it must be understood.
///
/// # Errors
/// [`Error`] with the reason; the state is unchanged then.
pub fn apply(
    state: &mut Durable,
    index: u64,
    appended_at: At,
    header: &[u8],
    body: &[u8],
) -> Result<(), Error> {
    let hash = sha256(header);
    let header = decode_header(header)?;
    let (payload, _) = decode_body(body)?;
    let decoded = decode(&header, &payload);
    if header.must_understand && matches!(decoded, Ok(Decoded::Unknown)) {
        return Err(Error::TooNew { kind: header.kind });
    }
    if let Some(place) = &header.place {
        let chain = Chain { incarnation: place.incarnation, seq: place.seq, hash };
        let event = match decoded {
            Ok(Decoded::Agent(event)) => Some(event),
            _ => None,
        };
        state.agent_event(index, appended_at, &place.account, chain, event.as_ref());
        return Ok(());
    }
    match decoded? {
        Decoded::Hub(event) => state.hub_event(index, appended_at, &event),
        _ => state.skip(index, appended_at),
    }
    Ok(())
}
