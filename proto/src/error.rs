//! What can be wrong with bytes from outside.

use taffrail_core::digest::Digest;
use taffrail_core::id::BadName;

/// Bytes that are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an encoding of the message.
    #[error("decode {what}")]
    Decode {
        /// Which message.
        what: &'static str,
        /// Why.
        #[source]
        source: prost::DecodeError,
    },
    /// A name that breaks its rule.
    #[error("read a name")]
    Name(#[from] BadName),
    /// A field that must be there is not, or holds what it cannot hold.
    #[error("read field {field} of {what}: {text:?} is not a value of it")]
    Field {
        /// Which message.
        what: &'static str,
        /// Which field.
        field: &'static str,
        /// What it holds, shortened.
        text: String,
    },
}

pub(crate) fn decode<M: prost::Message + Default>(what: &'static str, bytes: &[u8]) -> Result<M, Error> {
    M::decode(bytes).map_err(|source| Error::Decode { what, source })
}

pub(crate) fn field(what: &'static str, field: &'static str, text: impl std::fmt::Display) -> Error {
    Error::Field { what, field, text: text.to_string().chars().take(80).collect() }
}

pub(crate) fn digest(what: &'static str, name: &'static str, bytes: &[u8]) -> Result<Digest, Error> {
    Digest::from_slice(bytes).ok_or_else(|| field(what, name, format!("{} bytes", bytes.len())))
}

/// An optional field: the message, or an error that names it.
pub(crate) fn there<T>(what: &'static str, name: &'static str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| field(what, name, ""))
}

/// An optional name: absent when empty.
pub(crate) fn optional<T: TryFrom<String, Error = BadName>>(text: String) -> Result<Option<T>, Error> {
    if text.is_empty() { Ok(None) } else { Ok(Some(T::try_from(text)?)) }
}
