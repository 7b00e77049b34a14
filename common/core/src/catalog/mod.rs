//! Applications as they are declared in Git.
