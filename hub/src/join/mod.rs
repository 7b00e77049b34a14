//! How a cluster joins and renews its credentials.
