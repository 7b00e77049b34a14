//! The log becomes the state again: read and decoded by several threads, folded in order by one.

use crate::log::{self, Log};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use taffrail_core::node::hub::{Durable, Newer};
use taffrail_core::time::At;
use taffrail_proto::stored::{self, Entry};

/// Events of a stretch: what one reader reads before the next reader's turn.
const STRETCH: u64 = 1_024;

/// Most readers: one thread folds what all of them read.
const READERS_MAX: usize = 4;

/// Pages that a reader is ahead of the fold; a page has at most 16 MiB.
const AHEAD: usize = 1;

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

/// What a reader gives: events with the time at which they were appended, in order, and why there are no more.
#[derive(Default)]
struct Page {
    events: Vec<(At, Entry)>,
    failed: Option<Error>,
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

/// Folds events in order, up to the end or the first that cannot be read.
fn fold(log: &dyn Log, state: &mut Durable) -> Result<(), Error> {
    let last = *log.durable().borrow();
    let readers = thread::available_parallelism().map_or(1, NonZero::get).min(READERS_MAX);
    thread::scope(|scope| {
        let start = |reader| {
            let (pages, ahead) = sync_channel(AHEAD);
            scope.spawn(move || read(log, stretches(reader, readers, last), &pages));
            ahead
        };
        let ahead: Vec<Receiver<Page>> = (0..readers).map(start).collect();
        while state.index < last {
            let turn = usize::try_from(state.index / STRETCH).unwrap_or(usize::MAX) % readers;
            // A reader ends before its last page by a panic only, which the scope passes on.
            let Ok(page) = ahead[turn].recv() else { break };
            for (appended_at, entry) in page.events {
                let index = state.index + 1;
                entry.apply(state, index, appended_at);
            }
            page.failed.map_or(Ok(()), Err)?;
        }
        Ok(())
    })
}

/// First and last event of each stretch of one of `readers`.
fn stretches(reader: usize, readers: usize, last: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..last.div_ceil(STRETCH)).skip(reader).step_by(readers).map(move |stretch| {
        let first = stretch * STRETCH + 1;
        (first, last.min(first + STRETCH - 1))
    })
}

/// Reads stretches in pages until the fold has gone or something cannot be read.
fn read(log: &dyn Log, stretches: impl Iterator<Item = (u64, u64)>, pages: &SyncSender<Page>) {
    for (mut from, to) in stretches {
        while from <= to {
            let page = page(log, from, to);
            let failed = page.failed.is_some();
            from += page.events.len() as u64;
            if pages.send(page).is_err() || failed {
                return;
            }
        }
    }
}

/// Some events from `from` on, up to `to`: at least one, or why not.
fn page(log: &dyn Log, from: u64, to: u64) -> Page {
    let limit = u32::try_from(to - from + 1).unwrap_or(u32::MAX);
    let mut page = Page::default();
    let stored = match log.read(from, limit) {
        Ok(stored) if stored.is_empty() => {
            Err(log::Error::Damaged { index: from, what: "the event is missing" })
        }
        read => read,
    };
    let stored = stored.unwrap_or_else(|source| {
        page.failed = Some(Error::Read { from, source });
        Vec::new()
    });
    for event in stored {
        match stored::read(&event.header, &event.payload) {
            Ok(entry) => page.events.push((event.appended_at, entry)),
            Err(source) => {
                page.failed = Some(Error::Event { index: event.index, source });
                break;
            }
        }
    }
    page
}
