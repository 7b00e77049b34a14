//! A whole fleet on three real control planes: one hub, three agents, a Git server, and everything that may happen to them.
//!
//! The control planes are started once and shared; each test has a hub, agents and namespaces of its own.

mod crashes;
mod delivery;
mod distance;
mod failures;
mod guards;
mod identity;
mod membership;
mod orders;
mod restores;
mod trace;
