//! Wiring of the agent.
