//! Sealing bundles and indexes.
