//! What an instance asks of the cluster, and what it hears.

use crate::desired::Entry;
use crate::digest::Digest;
use crate::health::{Cause, Judgement};
use crate::id::CommitId;
use crate::object::{Key, Owned};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

/// One object of a bundle, its namespace filled in. Its body stays with the shell: a thousand of them are many megabytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: Key,
    /// API version without the group.
    pub version: String,
    /// Digest of its content: the shell finds the object itself by it.
    pub content: Digest,
    /// It carries `Prune=false`.
    pub keep: bool,
}

/// An object that the inventory in the cluster names and the bundle does not, and that carries our mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Its key.
    pub key: Key,
    /// API version without the group.
    pub version: String,
    /// UID.
    pub uid: String,
    /// It carries `Prune=false`.
    pub keep: bool,
}

/// What the inventory in the cluster says beside a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recalled {
    /// What it names beyond the bundle, as far as it is there.
    pub strays: Vec<Stray>,
    /// It lacks an object of the bundle.
    pub lacks: bool,
}

impl Recalled {
    /// Compares an inventory, if there is one, with a bundle's objects: what it lacks is told; what it names beyond them, and
    /// what `left` it, is to be looked for in the cluster.
    pub fn compare<'a>(
        members: Option<&'a BTreeSet<Key>>,
        left: &'a [Key],
        objects: &[Object],
    ) -> (Recalled, BTreeSet<&'a Key>) {
        let wanted: BTreeSet<&Key> = objects.iter().map(|object| &object.key).collect();
        let lacks = members.is_none_or(|members| wanted.iter().any(|key| !members.contains(*key)));
        let named = members.into_iter().flatten().chain(left);
        let beyond = named.filter(|key| !wanted.contains(key)).collect();
        (Recalled { strays: Vec::new(), lacks }, beyond)
    }
}

/// What a watch or a response says of a live object without holding it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// UID.
    pub uid: String,
    /// Resource version as a number: the API server promises that they compare.
    pub version: u64,
    /// Fingerprint of the fields that we own.
    pub owned: u64,
    /// A deletion timestamp is set.
    pub deleting: bool,
}

impl Fingerprint {
    /// Whether we own any field of it: then we applied it.
    pub fn is_ours(&self) -> bool {
        self.owned != Owned::default().fingerprint()
    }
}

/// A field that was ours and is not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostField {
    /// Its path.
    pub path: String,
    /// Who has it now; empty if unknown.
    pub manager: String,
}

/// An object was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What it is like now.
    pub fingerprint: Fingerprint,
    /// Its health now.
    pub judgement: Judgement,
    /// Fields that applying took back or took over, and from whom; filled when healing and on a first apply.
    pub taken: Vec<LostField>,
    /// The object did not exist before.
    pub created: bool,
}

/// A request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Named cause, if there is one.
    pub cause: Option<Cause>,
    /// What the API server says.
    pub message: String,
}

/// Why an inventory was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unstored {
    /// It is not as it was read or written last: it may name members that nobody remembers, and is to be read first.
    Changed,
    /// The request failed.
    Failed(Problem),
}

/// An object was deleted, or its deletion was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is not there any more.
    Gone,
    /// It goes once its finalizers are done.
    Pending,
}

/// A look at a live object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspected {
    /// It is there.
    Found {
        /// What it is like.
        fingerprint: Fingerprint,
        /// Its health; causes of its pods are in it.
        judgement: Judgement,
        /// Fields that a dry run would take back; filled when asked for.
        lost: Vec<LostField>,
    },
    /// It is not there.
    Missing,
    /// Its kind is not served: its definition is gone, and it with it, or it cannot be seen.
    NotServed(String),
    /// It could not be read: nothing is known.
    Unreadable(String),
}

/// An order of one instance to the shell. Responses carry the run back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Fetch the entry's bundle if it is not in the journal, verify it, and hand over its objects.
    Load {
        /// The run.
        run: u64,
        /// The entry.
        entry: Entry,
        /// Read the inventory in the cluster, too, and look for these objects that left it: the journal may know less than
        /// it, or the cluster is not as it was.
        recall: Option<Vec<Key>>,
    },
    /// Write the inventory into the cluster.
    Store {
        /// The run.
        run: u64,
        /// Every key that is or will be ours, with its version.
        keys: Vec<(Key, String)>,
    },
    /// Make sure that a namespace exists; it is nobody's object.
    EnsureNamespace {
        /// The run.
        run: u64,
        /// Its name.
        namespace: String,
    },
    /// Apply an object.
    Apply {
        /// The run.
        run: u64,
        /// The object.
        object: Object,
        /// The commit that last changed it.
        commit: CommitId,
        /// Look first, so that the fields taken and their managers can be named.
        look_first: bool,
    },
    /// Delete an object.
    Delete {
        /// The run.
        run: u64,
        /// The object.
        key: Key,
        /// API version without the group.
        version: String,
        /// Only if it still is this one; empty if unknown.
        uid: String,
    },
    /// Look at a live object.
    Inspect {
        /// The object.
        key: Key,
        /// API version without the group.
        version: String,
        /// Look at its pods too.
        pods: bool,
        /// Name the fields that applying this would take back.
        against: Option<Object>,
    },
    /// Remove the inventory from the cluster; the app is gone. Answered like a writing of it.
    Forget {
        /// The run.
        run: u64,
    },
}
