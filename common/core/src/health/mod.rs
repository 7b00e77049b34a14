//! Objects judged: Healthy, Progressing, Degraded, Suspended, Missing, Unknown.
