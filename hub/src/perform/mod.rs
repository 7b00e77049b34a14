//! One function per effect of the hub.
