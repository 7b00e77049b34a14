//! Desired state in, events out.
