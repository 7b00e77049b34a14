//! What waits for the disk: checked when it is taken, bounded, in order.

use super::ticket::Promise;
use super::{BLOB_BYTES_MAX, EVENT_BYTES_MAX, Error, Record};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use taffrail_core::digest::Digest;
use taffrail_core::time::At;

/// Bytes that may wait: as much as the largest blob, so that anything that is allowed at all fits into an empty queue.
const QUEUE_BYTES_MAX: usize = BLOB_BYTES_MAX;

/// Bytes that go to the disk with one fsync: above this an fsync costs less than the bytes, and readers wait longer for nothing.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a queued item weighs beside its bytes: keys, vectors, tickets. An estimate that bounds a queue of empty events.
const ITEM_BYTES: usize = 256;

/// One thing to write.
#[derive(Debug)]
pub(super) enum Job {
    Append { first: u64, records: Vec<Record>, promise: Promise<u64> },
    PutBlob { digest: Digest, bytes: Bytes, promise: Promise<()> },
    RemoveBlob { digest: Digest, promise: Promise<()> },
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Work {
    /// A group to write; never empty.
    Group(Vec<Job>),
    /// Nothing yet.
    None,
    /// Nothing any more: the queue is closed and empty, or stopped.
    Closed,
}

/// The end of a log as the next batch must continue it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Index of the next event.
    pub(super) next: u64,
    /// Time of the last event.
    pub(super) last_at: At,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Closing,
    Stopped,
}

#[derive(Debug)]
struct State {
    jobs: VecDeque<(Job, usize)>,
    bytes: usize,
    end: End,
    phase: Phase,
}

/// The queue between whoever appends and the writer thread.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

impl End {
    /// The end after a batch.
    ///
    /// # Errors
    /// The refusals of `Log::append` that concern the batch itself.
    pub(super) fn after(self, first: u64, batch: &[Record]) -> Result<End, Error> {
        if first != self.next {
            return Err(Error::WrongIndex { first, next: self.next });
        }
        let mut end = self;
        for record in batch {
            if record.appended_at < end.last_at {
                return Err(Error::TimeWentBack { at: record.appended_at, last: end.last_at });
            }
            let bytes = record.header.len() + record.payload.len();
            if bytes > EVENT_BYTES_MAX {
                return Err(Error::TooLarge { what: "an event", bytes, max: EVENT_BYTES_MAX });
            }
            end = End { next: end.next + 1, last_at: record.appended_at };
        }
        Ok(end)
    }
}

/// Refuses blobs above their limit.
pub(super) fn check_blob(bytes: &Bytes) -> Result<(), Error> {
    if bytes.len() > BLOB_BYTES_MAX {
        return Err(Error::TooLarge { what: "a blob", bytes: bytes.len(), max: BLOB_BYTES_MAX });
    }
    Ok(())
}

impl Queue {
    pub(super) fn new(end: End) -> Queue {
        let state = State { jobs: VecDeque::new(), bytes: 0, end, phase: Phase::Open };
        Queue { state: Mutex::new(state), filled: Condvar::new() }
    }

    /// Takes a batch: what it would refuse, it refuses before anything changes.
    pub(super) fn append(&self, first: u64, records: Vec<Record>, promise: Promise<u64>) {
        let size = records.iter().map(weight).sum();
        if size > QUEUE_BYTES_MAX {
            let _ = promise.send(Err(Error::TooLarge { what: "a batch", bytes: size, max: QUEUE_BYTES_MAX }));
            return;
        }
        let mut state = self.lock();
        let end = state.end.after(first, &records).and_then(|end| state.admit(size).map(|()| end));
        match end {
            Ok(end) => {
                state.end = end;
                state.push(Job::Append { first, records, promise }, size);
                self.filled.notify_one();
            }
            Err(error) => drop(promise.send(Err(error))),
        }
    }

    /// Takes a blob to put, or its removal.
    pub(super) fn blob(&self, digest: Digest, bytes: Option<Bytes>, promise: Promise<()>) {
        let size = bytes.as_ref().map_or(0, Bytes::len) + ITEM_BYTES;
        let mut state = self.lock();
        match bytes.as_ref().map_or(Ok(()), check_blob).and_then(|()| state.admit(size)) {
            Ok(()) => {
                let job = match bytes {
                    Some(bytes) => Job::PutBlob { digest, bytes, promise },
                    None => Job::RemoveBlob { digest, promise },
                };
                state.push(job, size);
                self.filled.notify_one();
            }
            Err(error) => drop(promise.send(Err(error))),
        }
    }

    pub(super) fn end(&self) -> End {
        self.lock().end
    }

    /// Waits for work, at most so long, and takes a group of it.
    pub(super) fn take(&self, patience: Duration) -> Work {
        let mut state = self.lock();
        if state.jobs.is_empty() && state.phase == Phase::Open {
            let waited = self.filled.wait_timeout(state, patience);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.jobs.is_empty() {
            return if state.phase == Phase::Open { Work::None } else { Work::Closed };
        }
        let (mut group, mut bytes) = (Vec::new(), 0);
        while let Some((job, size)) = state.jobs.pop_front() {
            if !group.is_empty() && bytes + size > GROUP_BYTES_MAX {
                state.jobs.push_front((job, size));
                break;
            }
            bytes += size;
            group.push(job);
        }
        state.bytes -= bytes;
        Work::Group(group)
    }

    /// Takes nothing more; what is queued is still written.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        self.filled.notify_all();
    }

    /// Takes nothing more and forgets what is queued; its tickets fail.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.phase = Phase::Stopped;
        state.jobs.clear();
        state.bytes = 0;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admit(&self, size: usize) -> Result<(), Error> {
        match self.phase {
            Phase::Open if self.jobs.is_empty() || self.bytes + size <= QUEUE_BYTES_MAX => Ok(()),
            Phase::Open => Err(Error::QueueFull { bytes: self.bytes }),
            Phase::Closing | Phase::Stopped => Err(Error::Stopped),
        }
    }

    fn push(&mut self, job: Job, size: usize) {
        self.bytes += size;
        self.jobs.push_back((job, size));
    }
}

fn weight(record: &Record) -> usize {
    record.header.len() + record.payload.len() + ITEM_BYTES
}

#[cfg(test)]
mod tests {
    use super::super::{Keys, Ticket};
    use super::*;

    fn record(payload: usize) -> Record {
        let payload = vec![0; payload].into();
        Record { appended_at: At(0), header: Bytes::new(), payload, keys: Keys::default(), own: true }
    }

    /// How many jobs there are to write; `None` if never any again.
    fn taken(queue: &Queue) -> Option<usize> {
        match queue.take(Duration::ZERO) {
            Work::Group(jobs) => Some(jobs.len()),
            Work::None => Some(0),
            Work::Closed => None,
        }
    }

    #[test]
    fn a_full_queue_refuses_and_goes_on_when_it_was_emptied() {
        let queue = Queue::new(End { next: 1, last_at: At(0) });
        let append = |records: Vec<Record>| {
            let (promise, ticket) = Ticket::new();
            queue.append(queue.end().next, records, promise);
            ticket
        };
        let mut tickets = Vec::new();
        while queue.end().next < 1 + (QUEUE_BYTES_MAX / (EVENT_BYTES_MAX + ITEM_BYTES)) as u64 {
            tickets.push(append(vec![record(EVENT_BYTES_MAX)]));
        }
        let next = queue.end().next;
        let refused = append(vec![record(EVENT_BYTES_MAX)]).wait();
        assert!(matches!(refused, Err(Error::QueueFull { .. })), "{refused:?}");
        assert_eq!(queue.end().next, next, "a refused batch takes no index");
        assert_eq!(taken(&queue), Some(1), "8 MiB hold one event of 4 MiB and its overhead");
        tickets.push(append(vec![record(EVENT_BYTES_MAX)]));
        assert_eq!(queue.end().next, next + 1);
    }

    #[test]
    fn closing_keeps_what_is_queued_and_stopping_does_not() {
        for (stop, jobs) in [(false, Some(1)), (true, None)] {
            let queue = Queue::new(End { next: 1, last_at: At(0) });
            let (promise, ticket) = Ticket::new();
            queue.append(1, vec![record(1)], promise);
            if stop {
                queue.stop();
            } else {
                queue.close();
            }
            let (late, refused) = Ticket::new();
            queue.append(2, vec![record(1)], late);
            assert!(matches!(refused.wait(), Err(Error::Stopped)));
            assert_eq!(taken(&queue), jobs);
            assert_eq!(taken(&queue), None);
            assert!(matches!(ticket.wait(), Err(Error::Stopped)), "nobody wrote it");
        }
    }
}
