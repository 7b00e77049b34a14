//! What the hub owes the world, and how it is asked for.

use crate::desired::Index;
use crate::epoch::Grant;
use crate::id::{AccountKey, ClusterName, CommitId, SourceName};
use crate::planner::Variant;
use crate::source::Track;
use crate::time::{At, Span};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// One thing owed, by its key: paying it twice is safe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Debt {
    /// Tell NATS of an account, or that it is revoked.
    Account(AccountKey),
    /// Put a cluster's index where its agent finds it.
    Publish(ClusterName),
    /// Read what a source declares.
    Read(SourceName),
    /// Render a variant at its revision's head.
    Render(Variant),
}

/// What was rendered before: a commit outside its inputs changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// The commit.
    pub commit: CommitId,
    /// Its content digest.
    pub digest: crate::digest::Digest,
    /// Path prefixes that were read.
    pub inputs: Vec<String>,
}

/// An order to the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look at these revisions from now on, and at no others.
    Follow(BTreeSet<Track>),
    /// Pays [`Debt::Read`].
    Read {
        /// The source.
        source: SourceName,
        /// Its repository and revision.
        track: Track,
        /// Its directory.
        path: String,
        /// At this commit.
        commit: CommitId,
        /// Log index of the commit's event.
        cause: u64,
        /// Trace of the commit.
        trace: Option<String>,
    },
    /// Pays [`Debt::Render`].
    Render {
        /// What.
        variant: Variant,
        /// At this commit.
        commit: CommitId,
        /// The rendering in force.
        previous: Option<Previous>,
        /// Trace of the commit.
        trace: Option<String>,
    },
    /// Pays [`Debt::Publish`].
    Publish {
        /// The cluster.
        cluster: ClusterName,
        /// Its identity.
        account: AccountKey,
        /// The key to seal to.
        box_key: String,
        /// The index.
        index: Index,
        /// The grant of its epoch, if that began by one.
        grant: Option<Grant>,
        /// The cluster has shown what it held when that epoch began.
        adopted: bool,
    },
    /// Pays [`Debt::Account`].
    SetAccount {
        /// The account.
        account: AccountKey,
        /// The user that may connect; `None` when the account is revoked.
        user_key: Option<String>,
    },
}

/// Shortest pause before a failed effect is tried again.
const RETRY_MIN: Span = Span(500);

/// Longest pause before a failed effect is tried again: long enough not to storm, short enough to be back in a minute.
const RETRY_MAX: Span = Span::secs(60);

/// Debts that were asked for and debts that wait. Volatile. Every change costs the logarithm of what is owed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Book {
    open: BTreeSet<Debt>,
    in_flight: BTreeSet<Debt>,
    retries: BTreeMap<Debt, (u32, At)>,
    /// Open, not being paid, and waiting for nothing.
    ready: BTreeSet<Debt>,
    /// Open, not being paid, and waiting until this time.
    later: BTreeSet<(At, Debt)>,
}

impl Book {
    /// Notes a debt; noting it again while it is being paid makes it due again afterwards.
    pub(super) fn owe(&mut self, debt: &Debt) {
        self.change(debt, |book| {
            book.open.insert(debt.clone());
        });
    }

    /// Notes a debt that has a new reason: it does not wait for what failed before.
    pub(super) fn owe_now(&mut self, debt: &Debt) {
        self.change(debt, |book| {
            book.retries.remove(debt);
            book.open.insert(debt.clone());
        });
    }

    /// Whether a debt is being paid.
    pub(super) fn is_asked(&self, debt: &Debt) -> bool {
        self.in_flight.contains(debt)
    }

    /// Every debt, open or being paid.
    pub(super) fn all(&self) -> BTreeSet<Debt> {
        self.open.union(&self.in_flight).cloned().collect()
    }

    /// A debt was paid or is void.
    pub(super) fn settle(&mut self, debt: &Debt) {
        self.change(debt, |book| {
            book.in_flight.remove(debt);
            book.retries.remove(debt);
        });
    }

    /// Paying failed: due again after a pause that doubles.
    pub(super) fn fail(&mut self, debt: &Debt, at: At) {
        self.change(debt, |book| {
            book.in_flight.remove(debt);
            let attempt = book.retries.get(debt).map_or(0, |(attempt, _)| attempt + 1);
            let pause = Span(RETRY_MIN.0.saturating_mul(1 << attempt.min(16)).min(RETRY_MAX.0));
            book.retries.insert(debt.clone(), (attempt, at.plus(pause)));
            book.open.insert(debt.clone());
        });
    }

    /// Takes every debt that is due and not being paid.
    pub(super) fn due(&mut self, at: At) -> BTreeSet<Debt> {
        let mut due = core::mem::take(&mut self.ready);
        while self.later.first().is_some_and(|(after, _)| *after <= at) {
            due.extend(self.later.pop_first().map(|(_, debt)| debt));
        }
        for debt in &due {
            self.open.remove(debt);
            self.in_flight.insert(debt.clone());
        }
        due
    }

    /// When the next waiting debt is due.
    pub(super) fn next_wake(&self) -> Option<At> {
        self.later.first().map(|(after, _)| *after)
    }

    /// Whether nothing is open and nothing in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.in_flight.is_empty()
    }

    /// Changes what is known of one debt and keeps its place among those that are ready or wait.
    fn change(&mut self, debt: &Debt, change: impl FnOnce(&mut Book)) {
        let after = |book: &Book| book.retries.get(debt).map(|(_, after)| *after);
        self.ready.remove(debt);
        if let Some(after) = after(self) {
            self.later.remove(&(after, debt.clone()));
        }
        change(self);
        if !self.open.contains(debt) || self.in_flight.contains(debt) {
            return;
        }
        match after(self) {
            Some(after) => drop(self.later.insert((after, debt.clone()))),
            None => drop(self.ready.insert(debt.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is ready and what waits, by a scan of everything.
    fn scan(book: &Book) -> (BTreeSet<Debt>, BTreeSet<(At, Debt)>) {
        let open = || book.open.iter().filter(|debt| !book.in_flight.contains(*debt));
        let after = |debt: &Debt| book.retries.get(debt).map(|(_, after)| *after);
        let ready = open().filter(|debt| after(debt).is_none()).cloned();
        let later = open().filter_map(|debt| Some((after(debt)?, debt.clone())));
        (ready.collect(), later.collect())
    }

    proptest! {
        #[test]
        fn what_is_ready_and_what_waits_is_what_a_scan_finds(
            moves in proptest::collection::vec((0..6u8, 0..4u8, 0..3_000u64), 0..80)
        ) {
            let mut book = Book::default();
            let mut now = At(0);
            for (made, which, pause) in moves {
                let debt = Debt::Publish(crate::given::cluster(["a", "b", "c", "d"][usize::from(which)]));
                match made {
                    0 => book.owe(&debt),
                    1 => book.owe_now(&debt),
                    2 => book.settle(&debt),
                    3 => book.fail(&debt, now),
                    _ => {
                        now = now.plus(Span(pause));
                        let (ready, later) = scan(&book);
                        let late = later.into_iter().filter(|(after, _)| *after <= now).map(|(_, debt)| debt);
                        let expected: BTreeSet<Debt> = ready.into_iter().chain(late).collect();
                        prop_assert_eq!(book.due(now), expected);
                    }
                }
                let (ready, later) = scan(&book);
                prop_assert_eq!((&book.ready, &book.later), (&ready, &later));
            }
        }
    }
}
