//! Batches, held replies, replay.
