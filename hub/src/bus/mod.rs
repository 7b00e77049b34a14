//! Desired state out, events in.
