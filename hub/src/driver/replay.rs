//! The log becomes the state again.

use crate::log::{self, Log, Stored};
use taffrail_core::node::hub::{Durable, Newer};
use taffrail_proto::stored;

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
    /// An event is not what it should be, or not of this version.
    #[error("read event {index}")]
    Event {
        /// Log index.
        index: u64,
        /// Why.
        #[source]
        source: stored::Error,
    },
}

/// Folds the log as far as this version knows it: up to an event of a newer version that must not be skipped.
///
/// # Errors
/// As [`replay`] for everything else.
pub fn replay_known(log: &dyn Log) -> Result<(Durable, Option<Newer>), Error> {
    let mut state = Durable::default();
    match fold(log, &mut state) {
        Ok(()) => Ok((state, None)),
        Err(Error::Event { index, source: stored::Error::TooNew { kind } }) => {
            Ok((state, Some(Newer { index, kind })))
        }
        Err(error) => Err(error),
    }
}

/// Folds the whole log.
///
/// # Errors
/// [`Error`] with the event that cannot be read. Kinds that are not known are skipped.
pub fn replay(log: &dyn Log) -> Result<Durable, Error> {
    let mut state = Durable::default();
    fold(log, &mut state).map(|()| state)
}

fn fold(log: &dyn Log, state: &mut Durable) -> Result<(), Error> {
    loop {
        let from = state.index + 1;
        let page = log.read(from, PAGE).map_err(|source| Error::Read { from, source })?;
        if page.is_empty() {
            return Ok(());
        }
        for Stored { index, appended_at, header, payload } in page {
            stored::apply(state, index, appended_at, &header, &payload)
                .map_err(|source| Error::Event { index, source })?;
        }
    }
}
