//! Tasks whose early end is noticed.
