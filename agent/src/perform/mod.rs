//! One function per effect of the agent.
