//! The log becomes the state again.

use crate::log::{self, Log, Stored};
use taffrail_core::cluster::Chain;
use taffrail_core::node::hub::Durable;
use taffrail_proto::event::{Decoded, decode, decode_header};
use taffrail_proto::report::decode_body;
use taffrail_proto::sign::sha256;

/// Events per page.
const PAGE: u32 = 4_096;

/// Why the log cannot become the state.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("read the log from event {from}")]
    Read {
        /// Log index.
        from: u64,
        /// Why.
        #[source]
        source: log::Error,
    },
    /// An event is not what it should be.
    #[error("read event {index}")]
    Malformed {
        /// Log index.
        index: u64,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A newer version wrote an event that must not be skipped.
    #[error("read event {index}: its kind {kind} is not known to this version and must be understood")]
    TooNew {
        /// Log index.
        index: u64,
        /// Its kind.
        kind: String,
    },
}

/// Folds the whole log.
///
/// # Errors
/// [`Error`] with the event that cannot be read. Kinds that are not known are skipped.
pub fn replay(log: &dyn Log) -> Result<Durable, Error> {
    let mut state = Durable::default();
    loop {
        let from = state.index + 1;
        let page = log.read(from, PAGE).map_err(|source| Error::Read { from, source })?;
        if page.is_empty() {
            return Ok(state);
        }
        page.iter().try_for_each(|stored| apply(&mut state, stored))?;
    }
}

fn apply(state: &mut Durable, stored: &Stored) -> Result<(), Error> {
    let index = stored.index;
    let malformed = |source| Error::Malformed { index, source };
    let header = decode_header(&stored.header).map_err(|error| malformed(error.into()))?;
    let (payload, _) = decode_body(&stored.payload).map_err(|error| malformed(error.into()))?;
    let decoded = decode(&header, &payload);
    if header.must_understand && matches!(decoded, Ok(Decoded::Unknown)) {
        return Err(Error::TooNew { index, kind: header.kind });
    }
    if let Some(place) = &header.place {
        let chain = Chain { incarnation: place.incarnation, seq: place.seq, hash: sha256(&stored.header) };
        let event = match decoded {
            Ok(Decoded::Agent(event)) => Some(event),
            _ => None,
        };
        state.agent_event(index, stored.appended_at, &place.account, chain, event.as_ref());
        return Ok(());
    }
    match decoded.map_err(|error| malformed(error.into()))? {
        Decoded::Hub(event) => state.hub_event(index, stored.appended_at, &event),
        _ => state.skip(index, stored.appended_at),
    }
    Ok(())
}
