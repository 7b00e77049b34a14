//! Field ownership as the API server keeps it: sets of paths, typed values, and the managers that own them.
//!
//! ```text
//!   schema   what a path is: granular or atomic, and the keys of its lists
//!   set      a set of paths, read from and written to `fieldsV1`
//!   typed    the set of a value; refusal of fields that the schema does not know
//!   compare  what two values differ in       merge   one value laid over another
//!   remove   a value without a set           managers  who owns what, and the two operations on it
//! ```

pub(crate) mod compare;
pub(crate) mod managers;
pub(crate) mod merge;
pub(crate) mod remove;
pub(crate) mod schema;
pub(crate) mod set;
pub(crate) mod typed;

#[cfg(test)]
mod tests;
