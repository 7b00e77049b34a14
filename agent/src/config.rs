//! Every setting of the agent with unit, default and bound.
