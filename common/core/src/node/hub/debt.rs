//! What the hub owes the world, and how it is asked for.

use crate::desired::Index;
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

/// Debts that were asked for and debts that wait. Volatile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Book {
    open: BTreeSet<Debt>,
    in_flight: BTreeSet<Debt>,
    retries: BTreeMap<Debt, (u32, At)>,
}

impl Book {
    /// Notes a debt; noting it again while it is being paid makes it due again afterwards.
    pub(super) fn owe(&mut self, debt: Debt) {
        self.open.insert(debt);
    }

    /// Notes a debt that has a new reason: it does not wait for what failed before.
    pub(super) fn owe_now(&mut self, debt: Debt) {
        self.retries.remove(&debt);
        self.open.insert(debt);
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
        self.in_flight.remove(debt);
        self.retries.remove(debt);
    }

    /// Paying failed: due again after a pause that doubles.
    pub(super) fn fail(&mut self, debt: &Debt, at: At) {
        self.in_flight.remove(debt);
        let attempt = self.retries.get(debt).map_or(0, |(attempt, _)| attempt + 1);
        let pause = Span(RETRY_MIN.0.saturating_mul(1 << attempt.min(16)).min(RETRY_MAX.0));
        self.retries.insert(debt.clone(), (attempt, at.plus(pause)));
        self.open.insert(debt.clone());
    }

    /// Takes every debt that is due and not being paid.
    pub(super) fn due(&mut self, at: At) -> Vec<Debt> {
        let due: Vec<Debt> = self
            .open
            .iter()
            .filter(|debt| !self.in_flight.contains(*debt))
            .filter(|debt| self.retries.get(*debt).is_none_or(|(_, after)| *after <= at))
            .cloned()
            .collect();
        for debt in &due {
            self.open.remove(debt);
            self.in_flight.insert(debt.clone());
        }
        due
    }

    /// When the next waiting debt is due.
    pub(super) fn next_wake(&self) -> Option<At> {
        let waiting = self.open.iter().filter(|debt| !self.in_flight.contains(*debt));
        waiting.filter_map(|debt| self.retries.get(debt).map(|(_, after)| *after)).min()
    }

    /// Whether nothing is open and nothing in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.in_flight.is_empty()
    }
}
