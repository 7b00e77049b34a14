//! Every setting of the hub with unit, default and bound.
