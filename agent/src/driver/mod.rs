//! The loop around the agent's step function.
