//! Journal before effects, numbers without gaps.
