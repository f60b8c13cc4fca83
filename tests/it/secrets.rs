//! Secrets that other systems keep: read at the start, fresh without a restart, never shown.

#[cfg(feature = "aws")]
mod aws;
mod vault;
