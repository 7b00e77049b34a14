//! Faults on real parts: one hub, three real control planes, a real NATS, a load of commits and of edits by hand, and
//! something that goes wrong meanwhile. docs/FAULTS.md says what is promised of each fault and what happens.
//!
//! Every story ends alike: each agent's events are in the log once and in order, each cluster runs what Git says, object
//! by object, and what a person was told meanwhile was true then. With the feature `faults-long` (`make test-faults`)
//! faults come more often, and those that take long come at all.

mod agents;
mod backups;
mod kills;
#[cfg(feature = "faults-long")]
mod large;
mod nats;
mod network;
mod objects;

use std::time::Duration;

/// The hub's lease in these stories, and what the agents are told to keep it with.
const LEASE: Duration = Duration::from_secs(6);
/// Settings of the hub.
const HUB: &[(&str, &str)] = &[("cluster.lease", "6s")];
/// Settings of the agents.
const AGENTS: &[(&str, &str)] = &[("hub.heartbeat", "2s")];

/// How often something is done: less often in `make test`.
const fn times(short: u64, long: u64) -> u64 {
    if cfg!(feature = "faults-long") { long } else { short }
}
