//! Signatures over transmitted bytes.
