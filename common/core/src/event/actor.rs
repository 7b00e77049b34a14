//! Who or what causes a fact.

use alloc::string::String;
use core::fmt;

/// Who or what causes a fact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// A person, by the name that their token or identity gives.
    Person(String),
    /// The hub by itself.
    Hub,
    /// An agent by itself.
    Agent,
    /// The author of a commit, as Git names them.
    Author(String),
}

impl Actor {
    /// Reads what [`fmt::Display`] writes; an unknown form is a person of that name.
    pub fn parse(text: &str) -> Actor {
        match text.split_once(':') {
            Some(("person", name)) => Actor::Person(name.into()),
            Some(("author", name)) => Actor::Author(name.into()),
            _ if text == "hub" => Actor::Hub,
            _ if text == "agent" => Actor::Agent,
            _ => Actor::Person(text.into()),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Person(name) => write!(out, "person:{name}"),
            Actor::Hub => out.write_str("hub"),
            Actor::Agent => out.write_str("agent"),
            Actor::Author(name) => write!(out, "author:{name}"),
        }
    }
}
