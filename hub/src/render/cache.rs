//! Results by what went in.

use std::{collections::BTreeMap, sync::Arc};

use taffrail_core::digest::Digest;

use super::renderer::Rendered;

/// A bounded store of results; what was not asked for longest goes first.
#[derive(Debug)]
pub struct Cache {
    entries: BTreeMap<Digest, Entry>,
    /// Digests by when they were last asked for.
    by_use: BTreeMap<u64, Digest>,
    clock: u64,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Entry {
    rendered: Arc<Rendered>,
    used: u64,
    bytes: usize,
}

impl Cache {
    /// A store for results whose inputs and outputs together have at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Cache {
        Cache { entries: BTreeMap::new(), by_use: BTreeMap::new(), clock: 0, bytes: 0, bytes_max }
    }

    /// The result for `digest`, if it is still there.
    pub fn get(&mut self, digest: &Digest) -> Option<Arc<Rendered>> {
        let entry = self.entries.get_mut(digest)?;
        self.by_use.remove(&entry.used);
        self.clock += 1;
        entry.used = self.clock;
        self.by_use.insert(self.clock, *digest);
        Some(entry.rendered.clone())
    }

    /// Keeps a result of about `bytes`; larger ones than the whole store are not kept.
    pub fn put(&mut self, digest: Digest, rendered: Arc<Rendered>, bytes: usize) {
        if bytes > self.bytes_max {
            return;
        }
        self.remove(&digest);
        self.clock += 1;
        self.bytes += bytes;
        self.by_use.insert(self.clock, digest);
        self.entries.insert(digest, Entry { rendered, used: self.clock, bytes });
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.by_use.values().next().copied() else { break };
            self.remove(&oldest);
        }
    }

    /// How many results are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn remove(&mut self, digest: &Digest) {
        if let Some(entry) = self.entries.remove(digest) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_longest_goes_first() {
        let digest = |byte: u8| Digest([byte; 32]);
        let rendered = Arc::new(Rendered::default());
        let mut cache = Cache::new(30);
        for byte in 1..=3 {
            cache.put(digest(byte), rendered.clone(), 10);
        }
        assert!(cache.get(&digest(1)).is_some());
        cache.put(digest(4), rendered.clone(), 10);
        assert!(cache.get(&digest(2)).is_none(), "the oldest went");
        assert!(cache.get(&digest(1)).is_some() && cache.len() == 3);
        cache.put(digest(5), rendered.clone(), 31);
        assert!(cache.get(&digest(5)).is_none(), "too large to keep");
        cache.put(digest(6), rendered, 30);
        assert!(cache.len() == 1 && !cache.is_empty());
    }
}
