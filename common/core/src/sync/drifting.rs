//! The drifts that are not healed yet: which of them is to be pursued now, which waits, which is with somebody.

use crate::object::Key;
use crate::object::order::{Stage, rank, stage};
use crate::time::At;
use crate::timers::Timers;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// A drift that is not healed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own about one drift")]
pub struct Drift {
    /// First sight.
    pub since: At,
    /// The whole object is gone.
    pub gone: bool,
    /// `DriftBegun` was stated.
    pub begun: bool,
    /// Which fields, once known.
    pub fields: Vec<String>,
    /// Who took them.
    pub manager: String,
    /// Not before this time: somebody fights.
    pub not_before: At,
    /// A request about it is in flight.
    pub asked: bool,
    /// More fields were lost since it was looked at: the wait may not be theirs.
    pub look: bool,
    /// The last request about it failed: the wait is for that.
    pub failed: bool,
    /// It is of this version, which is lower than the one that was written: out of a backup.
    pub older: Option<u64>,
}

/// A place in the order of applying.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    stage: Stage,
    rank: u8,
    key: Key,
}

/// Drifts by key, filed by what is to be done with them.
#[derive(Clone, Debug)]
pub(super) struct Drifts {
    heals: bool,
    known: BTreeMap<Key, Drift>,
    now: BTreeSet<Turn>,
    later: Timers<Key>,
    begun: usize,
}

impl Drifts {
    pub(super) fn new(heals: bool) -> Drifts {
        let (known, now, later) = (BTreeMap::new(), BTreeSet::new(), Timers::default());
        Drifts { heals, known, now, later, begun: 0 }
    }

    /// Whether drifts are healed, or only told.
    pub(super) fn heals(&mut self, heals: bool) {
        if self.heals != heals {
            self.heals = heals;
            let known = core::mem::take(&mut self.known);
            *self = Drifts::new(heals);
            for (key, drift) in known {
                self.put(key, drift);
            }
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Drift> {
        self.known.get(key)
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.known.contains_key(key)
    }

    /// Whether one was stated that is not healed.
    pub(super) fn any_begun(&self) -> bool {
        self.begun > 0
    }

    pub(super) fn put(&mut self, key: Key, drift: Drift) {
        self.remove(&key);
        self.begun += usize::from(drift.begun);
        self.file(&key, &drift);
        self.known.insert(key, drift);
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Drift> {
        let (key, drift) = self.known.remove_entry(key)?;
        self.begun -= usize::from(drift.begun);
        self.later.remove(&key);
        self.now.remove(&turn(&key));
        Some(drift)
    }

    /// Changes a drift and files it anew; `None` if there is none.
    pub(super) fn change(&mut self, key: &Key, change: impl FnOnce(&mut Drift)) -> Option<&Drift> {
        let mut drift = self.remove(key)?;
        change(&mut drift);
        self.put(key.clone(), drift);
        self.known.get(key)
    }

    fn file(&mut self, key: &Key, drift: &Drift) {
        let waits = (!drift.look || drift.failed) && drift.not_before > At(0);
        if drift.asked || (!drift.look && !self.heals && drift.begun) {
            return;
        }
        if waits {
            self.later.set(key, Some(drift.not_before));
        } else {
            self.now.insert(turn(key));
        }
    }

    /// Time passes: what waited for it is to be pursued.
    pub(super) fn pass(&mut self, at: At) {
        while let Some(key) = self.later.pop_due(at) {
            self.now.insert(turn(&key));
        }
    }

    /// When the next one has waited long enough.
    pub(super) fn next(&self) -> Option<At> {
        self.later.first()
    }

    /// The next one of the first stage that is not whole: nothing can be made in a missing namespace.
    pub(super) fn first<'a>(
        &'a self,
        mut in_flight: impl Iterator<Item = &'a Key>,
        busy: impl Fn(&Key) -> bool,
    ) -> Option<Key> {
        let first = self.now.first()?.stage;
        if in_flight.any(|key| stage_of(key) < first) {
            return None;
        }
        let now = self.now.iter().take_while(|turn| turn.stage == first);
        now.map(|turn| &turn.key).find(|key| !busy(key)).cloned()
    }

    /// The oracle: every drift is filed where a scan would find it.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut again = Drifts::new(self.heals);
        self.known.iter().for_each(|(key, drift)| again.put(key.clone(), drift.clone()));
        again.pass(At(u64::MAX));
        let mut filed = self.clone();
        filed.pass(At(u64::MAX));
        let same = (&again.now, again.begun) == (&filed.now, filed.begun);
        if same { Ok(()) } else { Err(format!("{:?} is {:?}", filed.now, again.now)) }
    }
}

fn stage_of(key: &Key) -> Stage {
    stage(&key.group, &key.kind)
}

fn turn(key: &Key) -> Turn {
    Turn { stage: stage_of(key), rank: rank(&key.kind), key: key.clone() }
}
