//! The log of record.
