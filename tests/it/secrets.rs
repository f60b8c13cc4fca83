//! Secrets that other systems keep: read at the start, fresh without a restart, never shown.

mod vault;
