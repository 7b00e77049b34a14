//! What may be deleted, and the rails.

use crate::catalog::MaxDeletes;
use crate::desired::{Entry, MAX_DELETES_FLOOR};
use crate::object::Key;
use crate::object::order::is_protected;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What becomes of the objects that left a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// Deleted once the new state is healthy.
    pub delete: Vec<Key>,
    /// Wait for an approval: protected kinds.
    pub held: Vec<Key>,
    /// Stay: pruning is off, for the app or for the object.
    pub kept: Vec<Key>,
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

/// Sorts what left the bundle. `kept_by_annotation` says which objects carry `Prune=false`.
pub fn fate<'a>(
    entry: &Entry,
    left: impl IntoIterator<Item = &'a Key>,
    kept_by_annotation: impl Fn(&Key) -> bool,
) -> Fate {
    let mut fate = Fate::default();
    for key in left {
        let becomes = if !entry.policy.prune || kept_by_annotation(key) {
            &mut fate.kept
        } else if is_protected(&key.group, &key.kind) && entry.approved != Some(entry.digest) {
            &mut fate.held
        } else {
            &mut fate.delete
        };
        becomes.push(key.clone());
    }
    fate
}
