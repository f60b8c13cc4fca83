//! What operators see: logs, access records, metrics.

pub mod access;
pub mod log;
pub mod mcp;
pub mod metrics;
pub mod requests;
pub mod trace;
