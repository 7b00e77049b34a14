//! Events as bytes: headers around payloads, one payload message per kind.

pub mod agent;
mod epoch;
pub mod header;
pub mod hub;
pub mod ledger;
pub mod numbering;
pub mod parts;
#[cfg(test)]
mod tests;

pub(crate) use header::agent_event;
pub use header::{Decoded, Header, Place, decode, decode_header, encode_agent, encode_hub};
pub use ledger::{Entered, Ledger};
pub use numbering::{Numbered, Numbering};
