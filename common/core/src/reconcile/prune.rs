//! What may be deleted, and the rails.

use crate::catalog::MaxDeletes;
use crate::desired::{Entry, MAX_DELETES_FLOOR};
use crate::object::Key;
use crate::object::order::is_protected;
use alloc::format;
use alloc::string::String;

/// What becomes of an object that left a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is deleted once the new state is healthy.
    Delete,
    /// It waits for an approval: protected kinds.
    Held,
    /// It stays: pruning is off, for the app or for the object.
    Kept,
}

/// What an entry says about objects that leave its bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The policy prunes.
    pub prune: bool,
    /// A person approved of exactly this bundle.
    pub approved: bool,
}

impl Rules {
    /// The rules of an entry.
    pub fn of(entry: &Entry) -> Rules {
        Rules { prune: entry.policy.prune, approved: entry.approved == Some(entry.digest) }
    }

    /// What becomes of an object; `keep`: it carries `Prune=false`.
    pub fn fate(self, key: &Key, keep: bool) -> Fate {
        if !self.prune || keep {
            Fate::Kept
        } else if is_protected(&key.group, &key.kind) && !self.approved {
            Fate::Held
        } else {
            Fate::Delete
        }
    }
}

/// Why an app is parked before anything is applied.
///
/// `before` is the size of the inventory, `after` the number of objects in the bundle, `leaving` how many would be
/// deleted. A person's approval of exactly this bundle lets it pass.
pub fn guard(entry: &Entry, before: usize, after: usize, leaving: usize) -> Option<String> {
    if !entry.policy.prune || entry.approved == Some(entry.digest) || leaving == 0 {
        return None;
    }
    if after == 0 && !entry.policy.allow_empty {
        return Some(format!("the bundle is empty and would delete all {before} objects"));
    }
    let (over, limit) = match entry.policy.max_deletes {
        MaxDeletes::Percent(percent) => {
            let over = leaving >= MAX_DELETES_FLOOR && leaving * 100 > before * usize::from(percent);
            (over, format!("{percent} %"))
        }
        MaxDeletes::Count(count) => {
            (u32::try_from(leaving).is_ok_and(|leaving| leaving > count), format!("{count}"))
        }
    };
    (over && after > 0).then(|| format!("{leaving} of {before} objects would be deleted, more than {limit}"))
}
