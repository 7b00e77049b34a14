//! Situations that must have occurred, so that nobody mistakes a quiet world for a safe one.

use std::collections::BTreeMap;

/// What is counted, over every history.
pub const ALL: [&str; 53] = [
    "a message was lost",
    "a message arrived twice",
    "a message arrived seconds late",
    "an agent was cut off for longer than the lease",
    "the hub died with a batch not durable",
    "the hub died between two outputs",
    "the hub died, and a batch survived that nobody was told of",
    "an agent died with a transaction not durable",
    "an agent died between two acts",
    "an agent died with a request out",
    "an agent died in the middle of an apply",
    "a journal was lost",
    "the broker was wiped",
    "a clock went back",
    "a clock went forward",
    "a batch was full",
    "a request was full",
    "a repeated event was met",
    "a fact found no room in an outbox",
    "a fact that had found no room was told",
    "an effect of the hub failed",
    "an effect of the hub was done twice",
    "an index was pre-empted",
    "a lower index was refused",
    "an older rendering came after a newer head",
    "a history was rewritten",
    "a rewritten history was allowed",
    "a root could not be read",
    "a rendering failed",
    "an app was parked by a guard",
    "a protected object was held",
    "a person approved deletions",
    "an object was pruned",
    "a pruned object waited for its finalizer",
    "what was being deleted came back to Git",
    "an object without our label was deleted",
    "an approval was overtaken by a newer bundle",
    "an app was withdrawn",
    "a cluster was emptied",
    "a cluster was removed",
    "a cluster joined again",
    "a cluster was renamed",
    "an API request failed",
    "an API answer was lost after it took effect",
    "a watch listed again",
    "a drift was healed",
    "a cluster fell silent and came back",
    "an object of somebody else was taken over",
    "the hub was restored from an older copy",
    "a restored hub found out that it is too old",
    "events with receipts were lost with a log",
    "an index of a restored hub waited for the adoption",
    "a restored hub adopted a cluster",
];

/// How often each occurred.
#[derive(Clone, Debug, Default)]
pub struct Situations(BTreeMap<&'static str, u64>);

impl Situations {
    /// Notes one.
    ///
    /// # Panics
    /// If it is not in the list.
    pub fn saw(&mut self, what: &'static str) {
        debug_assert!(ALL.contains(&what), "{what:?} is not in the list");
        *self.0.entry(what).or_default() += 1;
    }

    /// Adds those of another history.
    pub fn add(&mut self, other: &Situations) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// Those that never occurred.
    pub fn missing(&self) -> Vec<&'static str> {
        ALL.into_iter().filter(|what| !self.0.contains_key(what)).collect()
    }

    /// Each with its count.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ALL.into_iter().map(|what| (what, self.0.get(what).copied().unwrap_or(0)))
    }
}
