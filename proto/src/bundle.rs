//! A bundle as bytes: its objects, compressed.
