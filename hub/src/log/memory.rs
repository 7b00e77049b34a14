//! The log in memory: the same promises without a disk, for tests and simulations.

use super::queue::{End, check_blob};
use super::scan::Page;
use super::ticket::Promise;
use super::{
    AppendTicket, Blob, BlobTicket, EVENTS_MAX, Error, Filter, Keys, Log, PREFIX_MATCHES_MAX, Record, Room,
    Stored, Syncs, Ticket,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use taffrail_core::digest::Digest;
use taffrail_core::time::At;
use tokio::sync::watch;

/// A log in memory. Its disk can be held up and can break, so that what happens in between can be looked at.
#[derive(Debug)]
pub struct Memory {
    state: Mutex<State>,
    durable: watch::Sender<u64>,
    room: watch::Sender<Room>,
}

#[derive(Debug)]
struct State {
    events: Vec<(Stored, Keys)>,
    blobs: BTreeMap<Digest, Bytes>,
    end: End,
    disk: Disk,
    waiting: Vec<Wait>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Runs,
    Held,
    Broken,
}

/// A write that the disk has not done yet.
#[derive(Debug)]
enum Wait {
    Append { records: Vec<Record>, promise: Promise<u64> },
    Blob { digest: Digest, bytes: Option<Bytes>, promise: Promise<()> },
}

impl Default for Memory {
    fn default() -> Memory {
        let state = State {
            events: Vec::new(),
            blobs: BTreeMap::new(),
            end: End { next: 1, last_at: At(0) },
            disk: Disk::Runs,
            waiting: Vec::new(),
        };
        Memory {
            state: Mutex::new(state),
            durable: watch::Sender::new(0),
            room: watch::Sender::new(Room::Enough),
        }
    }
}

impl Memory {
    /// From now on writes wait, unreadable and with open tickets.
    pub fn hold(&self) {
        self.lock().disk = Disk::Held;
    }

    /// Does what waits, and from now on everything at once.
    pub fn release(&self) {
        let mut state = self.lock();
        state.disk = Disk::Runs;
        self.settle(&mut state);
    }

    /// From now on every ticket fails, those that wait first; nothing that waits will ever be there.
    pub fn fail(&self) {
        let mut state = self.lock();
        state.disk = Disk::Broken;
        state.waiting.clear();
    }

    /// From now on the disk has so much room.
    pub fn set_room(&self, room: Room) {
        self.room.send_replace(room);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, state: &mut State) {
        if state.disk != Disk::Runs {
            return;
        }
        for wait in std::mem::take(&mut state.waiting) {
            match wait {
                Wait::Append { records, promise } => {
                    for Record { appended_at, header, payload, keys, .. } in records {
                        let index = state.last() + 1;
                        state.events.push((Stored { index, appended_at, header, payload }, keys));
                    }
                    let last = state.last();
                    self.durable.send_if_modified(|durable| std::mem::replace(durable, last) != last);
                    let _ = promise.send(Ok(last));
                }
                Wait::Blob { digest, bytes, promise } => {
                    match bytes {
                        Some(bytes) => state.blobs.insert(digest, bytes),
                        None => state.blobs.remove(&digest),
                    };
                    let _ = promise.send(Ok(()));
                }
            }
        }
    }

    fn blob(&self, digest: Digest, bytes: Option<Bytes>) -> BlobTicket {
        let mut state = self.lock();
        if let Err(error) = bytes.as_ref().map_or(Ok(()), check_blob).and_then(|()| state.alive()) {
            return Ticket::refused(error);
        }
        let (promise, ticket) = Ticket::new();
        state.waiting.push(Wait::Blob { digest, bytes, promise });
        self.settle(&mut state);
        ticket
    }
}

impl State {
    fn last(&self) -> u64 {
        self.events.len() as u64
    }

    fn alive(&self) -> Result<(), Error> {
        if self.disk == Disk::Broken { Err(Error::Stopped) } else { Ok(()) }
    }

    fn check_prefix(&self, filter: &Filter) -> Result<(), Error> {
        let ambiguous =
            |prefix: &String| Err(Error::Ambiguous { prefix: prefix.clone(), max: PREFIX_MATCHES_MAX });
        let commits = |prefix: &String| {
            let commits = self.events.iter().filter_map(|(_, keys)| keys.commit.as_deref());
            commits.filter(|commit| commit.starts_with(prefix)).collect::<BTreeSet<_>>().len()
        };
        match &filter.commit {
            Some(prefix) if commits(prefix) > PREFIX_MATCHES_MAX => ambiguous(prefix),
            _ => Ok(()),
        }
    }
}

impl Log for Memory {
    fn append(&self, first: u64, batch: Vec<Record>) -> AppendTicket {
        let mut state = self.lock();
        match state.alive().and_then(|()| state.end.after(first, &batch)) {
            Ok(end) => state.end = end,
            Err(error) => return Ticket::refused(error),
        }
        let (promise, ticket) = Ticket::new();
        state.waiting.push(Wait::Append { records: batch, promise });
        self.settle(&mut state);
        ticket
    }

    fn next_index(&self) -> u64 {
        self.lock().end.next
    }

    fn last_at(&self) -> At {
        self.lock().end.last_at
    }

    fn durable(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }

    fn syncs(&self) -> Syncs {
        Syncs::default()
    }

    fn room(&self) -> watch::Receiver<Room> {
        self.room.subscribe()
    }

    fn read(&self, from: u64, limit: u32) -> Result<Vec<Stored>, Error> {
        let filter = Filter { after: from.checked_sub(1), limit, ..Filter::default() };
        self.query(&filter)
    }

    fn query(&self, filter: &Filter) -> Result<Vec<Stored>, Error> {
        let state = self.lock();
        state.check_prefix(filter)?;
        let mut page = Page::default();
        let limit = filter.limit.min(EVENTS_MAX) as usize;
        let matching = || state.events.iter().filter(|(event, keys)| matches(filter, event, keys));
        let events: Box<dyn Iterator<Item = &(Stored, Keys)>> =
            if filter.newest_first { Box::new(matching().rev()) } else { Box::new(matching()) };
        for (event, _) in events.take(limit) {
            if page.push(event.clone()) {
                break;
            }
        }
        Ok(page.events)
    }

    fn at_time(&self, at: At) -> Result<u64, Error> {
        Ok(self.lock().events.partition_point(|(event, _)| event.appended_at <= at) as u64)
    }

    fn put_blob(&self, digest: Digest, bytes: Bytes) -> BlobTicket {
        self.blob(digest, Some(bytes))
    }

    fn remove_blob(&self, digest: Digest) -> BlobTicket {
        self.blob(digest, None)
    }

    fn get_blob(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        Ok(self.lock().blobs.get(digest).cloned())
    }

    fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.lock().blobs.contains_key(digest))
    }

    fn list_blobs(&self) -> Result<Vec<Blob>, Error> {
        let state = self.lock();
        let blobs = state.blobs.iter();
        Ok(blobs.map(|(digest, bytes)| Blob { digest: *digest, bytes: bytes.len() as u64 }).collect())
    }
}

fn matches(filter: &Filter, event: &Stored, keys: &Keys) -> bool {
    fn is(wanted: Option<&String>, found: Option<&String>) -> bool {
        wanted.is_none_or(|wanted| found == Some(wanted))
    }
    let app = |wanted: &String| {
        keys.app
            .as_ref()
            .is_some_and(|app| app == wanted || app.split_once('/').is_some_and(|(_, name)| name == wanted))
    };
    let commit = |wanted: &String| keys.commit.as_ref().is_some_and(|commit| commit.starts_with(wanted));
    is(filter.cluster.as_ref(), keys.cluster.as_ref())
        && is(filter.actor.as_ref(), keys.actor.as_ref())
        && is(filter.kind.as_ref(), Some(&keys.kind))
        && filter.app.as_ref().is_none_or(app)
        && filter.commit.as_ref().is_none_or(commit)
        && filter.from.is_none_or(|from| event.appended_at >= from)
        && filter.to.is_none_or(|to| event.appended_at <= to)
        && filter.after.is_none_or(|after| event.index > after)
        && filter.before.is_none_or(|before| event.index < before)
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{conformance, record};
    use super::*;

    conformance! { (Memory::default(), ()) }

    #[test]
    fn a_held_disk_shows_nothing_before_it_is_released() {
        let log = Memory::default();
        log.hold();
        let mut durable = log.durable();
        durable.mark_unchanged();
        let ticket = log.append(1, vec![record(1, "K", [""; 4])]);
        assert_eq!((log.next_index(), log.read(1, 10).unwrap().len()), (2, 0));
        assert!(!durable.has_changed().unwrap());
        log.release();
        assert_eq!(ticket.wait().unwrap(), 1);
        assert_eq!((*durable.borrow(), log.read(1, 10).unwrap().len()), (1, 1));
    }

    #[test]
    fn a_broken_disk_fails_what_waits_and_what_comes() {
        let log = Memory::default();
        log.hold();
        let waits = log.append(1, vec![record(1, "K", [""; 4])]);
        log.fail();
        let comes = log.append(2, vec![record(1, "K", [""; 4])]);
        for ticket in [waits, comes] {
            assert!(ticket.wait().unwrap_err().is_fatal());
        }
        assert_eq!(log.read(1, 10).unwrap(), []);
    }
}
