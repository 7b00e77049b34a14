//! What the agent must not forget.
