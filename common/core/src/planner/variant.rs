//! What is rendered once for all clusters that render alike.

use crate::catalog::Render;
use crate::source::Track;
use alloc::string::String;
use core::fmt;

/// Which objects of a rendering count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All of them.
    All,
    /// All but declarations of apps: the rest of a cluster's root.
    Rest,
}

/// A tree, a directory in it, and how it is rendered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variant {
    /// Repository and revision.
    pub track: Track,
    /// Directory in the tree.
    pub path: String,
    /// How it becomes objects.
    pub render: Render,
    /// Which objects count.
    pub part: Part,
}

impl Variant {
    /// What no variant of a track comes before.
    pub fn first_of(track: &Track) -> Variant {
        Variant { track: track.clone(), path: String::new(), render: Render::Auto, part: Part::All }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of {}", if self.path.is_empty() { "/" } else { &self.path }, self.track)
    }
}
