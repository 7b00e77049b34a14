//! Every metric of the hub.
