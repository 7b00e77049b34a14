//! Due times by key: one time a key, and the keys in the order of their times.

use crate::time::At;
use alloc::collections::{BTreeMap, BTreeSet};

/// At most one due time for each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timers<K> {
    due: BTreeMap<K, At>,
    order: BTreeSet<(At, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Timers<K> {
        Timers { due: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// The time of a key.
    pub fn get(&self, key: &K) -> Option<At> {
        self.due.get(key).copied()
    }

    /// Sets the time of a key, or takes it away.
    pub fn set(&mut self, key: &K, at: Option<At>) {
        if self.get(key) == at {
            return;
        }
        self.remove(key);
        if let Some(at) = at {
            self.due.insert(key.clone(), at);
            self.order.insert((at, key.clone()));
        }
    }

    /// Sets the time of a key unless it has an earlier one.
    pub fn set_earlier(&mut self, key: &K, at: At) {
        if self.get(key).is_none_or(|known| at < known) {
            self.set(key, Some(at));
        }
    }

    /// Takes the time of a key away.
    pub fn remove(&mut self, key: &K) {
        if let Some((key, at)) = self.due.remove_entry(key) {
            self.order.remove(&(at, key));
        }
    }

    /// Keys in the order of their times.
    pub fn iter(&self) -> impl Iterator<Item = (At, &K)> {
        self.order.iter().map(|(at, key)| (*at, key))
    }

    /// The earliest time.
    pub fn first(&self) -> Option<At> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes out the key with the earliest time if that has come.
    pub fn pop_due(&mut self, at: At) -> Option<K> {
        if self.first()? > at {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.due.remove(&key);
        Some(key)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.due.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is set and taken away, the order is that of a sorted list of what is set.
        #[test]
        fn keys_come_in_the_order_of_their_times(
            moves in proptest::collection::vec((0..5u8, 0..9u64, 0..4u8), 0..40)
        ) {
            let (mut timers, mut model) = (Timers::default(), BTreeMap::<u8, u64>::new());
            for (key, at, what) in moves {
                match what {
                    0 => {
                        timers.set(&key, Some(At(at)));
                        model.insert(key, at);
                    }
                    1 => {
                        timers.set_earlier(&key, At(at));
                        let known = model.entry(key).or_insert(at);
                        *known = (*known).min(at);
                    }
                    2 => {
                        timers.remove(&key);
                        model.remove(&key);
                    }
                    _ => {
                        let first = model.iter().map(|(key, at)| (*at, *key)).min().filter(|(due, _)| *due <= at);
                        prop_assert_eq!(timers.pop_due(At(at)), first.map(|(_, key)| key));
                        model.retain(|key, _| first.is_none_or(|(_, taken)| taken != *key));
                    }
                }
                let mut sorted: Vec<(u64, u8)> = model.iter().map(|(key, at)| (*at, *key)).collect();
                sorted.sort_unstable();
                let order: Vec<(u64, u8)> = timers.iter().map(|(at, key)| (at.0, *key)).collect();
                prop_assert_eq!(order, sorted);
            }
        }
    }
}
